"""The claim of Fig. 3: how near ID and OOD pictures are to positive and to negative prompts.

python experiments/compare/figure3.py RUNS     # finished runs of NegPrompt on icons; scored again from stored features
"""

from __future__ import annotations

import argparse
import csv
import statistics
import subprocess
import sys
from pathlib import Path

import numpy as np

from negprompt.reports.collect import collect

HERE = Path(__file__).parent
KINDS = ("nearest_positive", "nearest_negative")


def measured(run: Path) -> dict[str, dict[str, float]]:
    """Mean largest cosine of the pictures of each set to both kinds of prompts."""
    output = run / "evaluation" / "figure3"
    words = [f"--config-dir={HERE / 'conf'}", f"run={run}", f"score=[{','.join(KINDS)}]", f"output={output}"]
    subprocess.run([sys.executable, "-m", "negprompt", "evaluate", *words], check=True, capture_output=True)
    with np.load(output / "scores.npz") as scores:
        sets = dict.fromkeys(name.rpartition("/")[0] for name in scores.files)
        return {one: {kind: float(scores[f"{one}/{kind}"].mean()) for kind in KINDS} for one in sets}


def main() -> None:
    """Write figure3.csv, a mean over seeds for each preset and set, and print it as markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path)
    runs = [
        run for run in collect(parser.parse_args().runs) if run["benchmark"] == "icons" and run["num_negatives"] == 2
    ]
    rows = []
    for method in ("negprompt_paper", "negprompt_official_code", "negprompt"):
        chosen = [run for run in runs if run["method"] == method and run["class_fraction"] == 1]
        found = [measured(Path(run["run"])) for run in chosen]
        for one in found[0] if found else ():
            means = {kind: statistics.fmean(values[one][kind] for values in found) for kind in KINDS}
            rows.append({"method": method, "set": one, **means, "seeds": len(found)})
    with (HERE / "figure3.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    print("| method | pictures | nearest positive | nearest negative |\n|---|---|---:|---:|")
    for row in rows:
        print(f"| {row['method']} | {row['set']} | {row[KINDS[0]]:.3f} | {row[KINDS[1]]:.3f} |")


if __name__ == "__main__":
    main()
