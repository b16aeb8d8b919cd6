"""metrics.json and scores.npz as tables and curves; knows nothing of where they are shown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

MAX_POINTS = 200
NUM_BINS = 50

Floats = npt.NDArray[np.float64]


class Lines(NamedTuple):
    """Lines of one chart: x and y values of each name."""

    xs: list[list[float]]
    ys: list[list[float]]
    names: list[str]


def result_table(metrics: Mapping[str, Any]) -> tuple[list[str], list[list[Any]]]:
    """Columns and rows of a table, one row for each score and OOD set (or mean over sets).

    Args:
        metrics: content of metrics.json.

    Example:
        >>> result_table({"scores": {"mcm": {"lines": {"auroc": 0.9, "n_id": 5}, "mean": {"auroc": 0.9}}}})
        (['score', 'ood', 'auroc', 'n_id'], [['mcm', 'lines', 0.9, 5], ['mcm', 'mean', 0.9, None]])
    """
    entries = [(score, ood, values) for score, sets in metrics["scores"].items() for ood, values in sets.items()]
    columns = list(dict.fromkeys(name for *_, values in entries for name in values))
    return ["score", "ood", *columns], [[score, ood, *map(values.get, columns)] for score, ood, values in entries]


def score_names(arrays: Mapping[str, Any]) -> list[str]:
    """Names of the scores in the arrays of scores.npz."""
    return [key.removeprefix("id/") for key in arrays if key.startswith("id/") and arrays[key].dtype.kind == "f"]


def roc_lines(arrays: Mapping[str, Any], score: str) -> Lines:
    """ROC curve of a score for each OOD set, ID as the positive side; at most 200 points each."""
    sets = _ood_scores(arrays, score)
    curves = [_roc(arrays[f"id/{score}"].astype(np.float64), values) for values in sets.values()]
    return Lines([x.tolist() for x, _ in curves], [y.tolist() for _, y in curves], list(sets))


def histogram_lines(arrays: Mapping[str, Any], score: str) -> Lines:
    """Share of pictures in percent in equal bins of a score, for the ID set and each OOD set."""
    sets = {"ID": arrays[f"id/{score}"].astype(np.float64), **_ood_scores(arrays, score)}
    edges = np.histogram_bin_edges(np.concatenate(list(sets.values())), NUM_BINS)
    centres = ((edges[:-1] + edges[1:]) / 2).tolist()
    shares = [(100 * np.histogram(values, edges)[0] / len(values)).tolist() for values in sets.values()]
    return Lines([centres] * len(sets), shares, list(sets))


def _ood_scores(arrays: Mapping[str, Any], score: str) -> dict[str, Floats]:
    ending = f"/{score}"
    keys = [key for key in arrays if key.startswith("ood/") and key.endswith(ending)]
    return {key.removeprefix("ood/").removesuffix(ending): arrays[key].astype(np.float64) for key in keys}


def _roc(positive: Floats, negative: Floats) -> tuple[Floats, Floats]:
    """Rates of accepted negatives and positives at every threshold from the highest score down, thinned."""
    thresholds = np.unique(np.concatenate([positive, negative]))[::-1]
    if len(thresholds) >= MAX_POINTS:
        thresholds = thresholds[np.linspace(0, len(thresholds) - 1, MAX_POINTS - 1).round().astype(int)]
    rates = [
        1 - np.searchsorted(np.sort(values), thresholds, side="left") / len(values) for values in (negative, positive)
    ]
    false, true = (np.concatenate([[0.0], rate]) for rate in rates)
    return false, true
