"""Rows of a summary with made-up numbers, for tests of tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from negprompt.reports.collect import Statistic, SummaryRow, statistic


def row(method: str, auroc: Mapping[str, Statistic], fpr95: Mapping[str, Statistic], **changes: Any) -> SummaryRow:
    """One row of three seeds with the MCM score."""
    filled: dict[str, Any] = {
        "benchmark": "icons",
        "method": method,
        "backbone": "tiny_rn",
        "num_shots": 8,
        "class_fraction": 1.0,
        "num_negatives": None,
        "score": "mcm",
        "seeds": (1, 2, 3),
        "id_accuracy": Statistic(0.75, 0.01),
        "auroc": auroc,
        "fpr95": fpr95,
    }
    return SummaryRow(**(filled | changes))


def made_up(method: str, score: str, areas: Mapping[int, float], **changes: Any) -> SummaryRow:
    """One row on sets `near` and `flags`, whose AUROC lie 0.05 below and above the mean; FPR95 is 1.2 - AUROC."""
    per_set = {"near": -0.05, "flags": 0.05, "mean": 0.0}
    filled: dict[str, Any] = {
        "num_negatives": 2 if score == "negprompt" else None,
        "score": score,
        "seeds": tuple(areas),
        "id_accuracy": Statistic(0.7, 0.01 if len(areas) > 1 else None),
        "runs": tuple(f"runs/{method}/seed{seed}" for seed in areas),
        "by_seed": {seed: {"auroc": area, "fpr95": 1.2 - area} for seed, area in areas.items()},
    }
    auroc = {name: statistic([area + shift for area in areas.values()]) for name, shift in per_set.items()}
    fpr95 = {name: statistic([1.2 - area - shift for area in areas.values()]) for name, shift in per_set.items()}
    return row(method, auroc, fpr95, **(filled | changes))


MCM = made_up("zero_shot", "mcm", {1: 0.80})
COOP = made_up("coop", "mcm", {1: 0.81, 2: 0.82, 3: 0.83})
NEGPROMPT = made_up("negprompt", "negprompt", {1: 0.86, 2: 0.88, 3: 0.90})
