"""`negprompt report` over a thousand runs with 95,000 scores each: seconds and memory.

    python experiments/benchmarks/reporting.py

Writes made-up run folders (ten methods, four benchmarks of 50,000 ID and 45,000 OOD scores, 25 seeds; one scores.npz a
benchmark and method, linked), runs the command in a process of its own, and writes `results/reporting.md` and `.csv`.
Seconds on their own depend on the machine: the ratio to loading all score files once stands beside them.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import common
import numpy as np
import yaml

from negprompt.metrics.functional import auroc, fpr95_id_positive

NUM_ID, SETS = 50_000, {"near": 15_000, "far": 15_000, "farther": 15_000}
METHODS = ("zero_shot", "coop", "locoop", "negprompt_paper", "negprompt_official_code", "negprompt")
OWN = tuple(f"mine_{number}" for number in range(4))
BENCHMARKS, SEEDS = ("one", "two", "three", "four"), 25


def write_runs(root: Path) -> int:
    """Run folders below `root`; returns how many."""
    made = 0
    for place, benchmark in enumerate(BENCHMARKS):
        for quality, method in enumerate((*METHODS, *OWN)):
            name = "negprompt" if method.startswith("negprompt") else "mcm"
            random = np.random.default_rng([place, quality])
            scores = {f"id/{name}": random.normal(1 + quality / 10, 1, NUM_ID).astype(np.float32)}
            scores |= {f"ood/{one}/{name}": random.normal(0, 1, n).astype(np.float32) for one, n in SETS.items()}
            scores |= {"id/label": random.integers(0, 1000, NUM_ID), "id/prediction": random.integers(0, 1000, NUM_ID)}
            scores |= {"id/key": np.arange(NUM_ID).astype(str)}
            scores |= {f"ood/{one}/key": np.arange(n).astype(str) for one, n in SETS.items()}
            stored = root / f"{benchmark}-{method}.npz"
            np.savez(stored, **scores)
            for seed in range(SEEDS):
                folder = root / "runs" / benchmark / method / "tiny_rn" / f"seed{seed}-{place}{quality}"
                folder.mkdir(parents=True)
                os.link(stored, folder / "scores.npz")
                _describe(folder, benchmark, method, seed, name, scores)
                made += 1
    return made


def _describe(folder: Path, benchmark: str, method: str, seed: int, name: str, scores: dict[str, Any]) -> None:
    """What a run folder says beside its scores; metrics vary a little with the seed."""
    values = {}
    for one in SETS:
        inside, outside = scores[f"id/{name}"][seed::SEEDS], scores[f"ood/{one}/{name}"][seed::SEEDS]
        values[one] = {"auroc": auroc(inside, outside), "fpr95_id_positive": fpr95_id_positive(inside, outside)}
    values["mean"] = {key: float(np.mean([value[key] for value in values.values()])) for key in values["near"]}
    metrics = {
        **{"schema": 1, "benchmark": benchmark, "method": method, "backbone": "tiny_rn", "seed": seed},
        **{"num_shots": 16, "class_fraction": 1.0, "num_negatives": 2 if name == "negprompt" else None},
        **{f"{key}_sha256": key * 8 for key in ("split", "class_names", "weights")},
        **{"id_accuracy": 0.7, "steps": 100, "scores": {name: values}},
    }
    (folder / "metrics.json").write_text(json.dumps(metrics))
    kept = {"seconds": {"training": 10.0, "evaluation": 1.0}, "command": f"negprompt train method={method} seed={seed}"}
    (folder / "provenance.json").write_text(json.dumps(kept | {"device": "cpu"}))
    (folder / "config.yaml").write_text(yaml.safe_dump({"seed": seed, "method": {"name": method}}))
    (folder / "DONE").touch()


def main() -> None:
    given = common.checked(common.parser(__doc__))
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        count = write_runs(root)
        begin = time.perf_counter()
        for file in (root / "runs").rglob("scores.npz"):
            with np.load(file) as scores:
                _ = [scores[key] for key in scores.files]
        reading = time.perf_counter() - begin
        begin = time.perf_counter()
        words = ["report", f"runs={root / 'runs'}", f"output={root / 'report'}"]
        subprocess.run([sys.executable, "-m", "negprompt", *words], check=True, stdout=subprocess.DEVNULL)
        seconds = time.perf_counter() - begin
        page = root / "report" / "report.html"
        rows = [
            {
                "runs": count,
                "scores a run": NUM_ID + sum(SETS.values()),
                "report, s": round(seconds, 1),
                "reading all scores once, s": round(reading, 1),
                "peak memory, MiB": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024,
                "page, MB": round(page.stat().st_size / 1e6, 1),
            }
        ]
    notes = ["tables, figures and the page; the pictures behind the scores are not at hand, so no mistakes are shown"]
    common.write("reporting", "A report over a thousand runs", rows, notes, given)


if __name__ == "__main__":
    main()
