"""results.csv from finished runs of method=zoc and method=zero_shot on the hard splits.

python experiments/zoc/results.py [RUNS]        # RUNS: folder of runs, runs by default
"""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

RUNS = Path(sys.argv[1] if len(sys.argv) > 1 else "runs")
SPLITS = ("icons_hard_1", "icons_hard_2", "icons_hard_3", "icons_hard_4")
ROWS = (("zoc", "zoc"), ("zoc", "mcm"), ("zero_shot", "mcm"), ("zero_shot", "max_logit"))


def main() -> None:
    lines = [["method", "score", "benchmark", "auroc", "fpr95_id_positive"]]
    for method, score in ROWS:
        found = []
        for split in SPLITS:
            (file,) = RUNS.glob(f"{split}/{method}/tiny_rn/seed1-*/metrics.json")
            mean = json.loads(file.read_text())["scores"][score]["mean"]
            found.append((mean["auroc"], mean["fpr95_id_positive"]))
            lines.append([method, score, split, *(f"{value:.6f}" for value in found[-1])])
        means = (sum(column) / len(SPLITS) for column in zip(*found, strict=True))
        lines.append([method, score, "mean", *(f"{value:.6f}" for value in means)])
    with (Path(__file__).parent / "results.csv").open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(lines)
    for line in lines:
        print(*line, sep="  ")


if __name__ == "__main__":
    main()
