"""Rank metrics on raw scores: AUROC, average precision and FPR95.

Higher score = more in-distribution (ID). Everything is counted on the scores as they are, in float64: nothing is
squashed into [0, 1] (torchmetrics' own metrics pass scores outside it through a sigmoid, which ties all scores
near 28). Equal scores count as scikit-learn counts them. Each call costs a sort, O(N log N).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from torch import Tensor

from negprompt.errors import ConfigError, DataError, nearest

Scores: TypeAlias = Tensor | npt.NDArray[Any]
_Floats: TypeAlias = npt.NDArray[np.float64]

RECALL = 0.95  # the 95 of FPR95


class _Curve(NamedTuple):
    """Images that reach each distinct score, from the highest to the lowest: the ROC curve in counts."""

    thresholds: _Floats
    positives: npt.NDArray[np.int64]
    negatives: npt.NDArray[np.int64]


class Roc(NamedTuple):
    """Shares of OOD and of ID images that are accepted, at thresholds that fall: from (0, 0) to (1, 1)."""

    ood: _Floats
    id: _Floats


def roc_curve(id_scores: Scores, ood_scores: Scores) -> Roc:
    """The whole ROC curve, one point a distinct score; the area below it is `auroc`.

    Args:
        id_scores: scores of ID images, 1-D.
        ood_scores: scores of OOD images, 1-D.

    Returns:
        Both shares, each ascending; equals scikit-learn's `roc_curve` without dropped points.

    Raises:
        DataError: if a side is empty, not 1-D, or holds NaN or infinity.

    Example:
        >>> curve = roc_curve(np.array([2.0, 3.0]), np.array([1.0, 2.0]))
        >>> curve.ood.tolist(), curve.id.tolist()
        ([0.0, 0.0, 0.5, 1.0], [0.0, 0.5, 1.0, 1.0])
    """
    curve = _curve(_checked("id_scores", id_scores), _checked("ood_scores", ood_scores))
    ood, own = (np.concatenate([[0], counts]) / counts[-1] for counts in (curve.negatives, curve.positives))
    return Roc(ood, own)


def auroc(id_scores: Scores, ood_scores: Scores) -> float:
    """Probability that an ID image scores higher than an OOD image; an equal score counts one half.

    Args:
        id_scores: scores of ID images, 1-D.
        ood_scores: scores of OOD images, 1-D.

    Returns:
        A fraction in [0, 1]; 0.5 is chance. Equals scikit-learn's `roc_auc_score`.

    Raises:
        DataError: if a side is empty, not 1-D, or holds NaN or infinity.

    Example:
        >>> auroc(np.array([2.0, 3.0]), np.array([1.0, 2.0]))
        0.875
    """
    positive, negative = _checked("id_scores", id_scores), np.sort(_checked("ood_scores", ood_scores))
    below = np.searchsorted(negative, positive, side="left")
    not_above = np.searchsorted(negative, positive, side="right")
    # Integers up to here, so the only rounding is that of the division.
    return float((int(below.sum()) + int(not_above.sum())) / (2 * len(positive) * len(negative)))


def aupr_in(id_scores: Scores, ood_scores: Scores) -> float:
    """Average precision with ID as the positive class.

    Args:
        id_scores: scores of ID images, 1-D.
        ood_scores: scores of OOD images, 1-D.

    Returns:
        A fraction in [0, 1]; chance is the share of ID images. Equals scikit-learn's `average_precision_score`.

    Raises:
        DataError: if a side is empty, not 1-D, or holds NaN or infinity.

    Example:
        >>> aupr_in(np.array([3.0, 1.0]), np.array([2.0, 0.0]))  # (1/1 + 2/3) / 2
        0.8333333333333333
    """
    return _average_precision(_curve(_checked("id_scores", id_scores), _checked("ood_scores", ood_scores)))


def aupr_out(id_scores: Scores, ood_scores: Scores) -> float:
    """Average precision with OOD as the positive class and the negated score.

    Args:
        id_scores: scores of ID images, 1-D.
        ood_scores: scores of OOD images, 1-D.

    Returns:
        A fraction in [0, 1]; chance is the share of OOD images.

    Raises:
        DataError: if a side is empty, not 1-D, or holds NaN or infinity.

    Example:
        >>> aupr_out(np.array([3.0, 1.0]), np.array([2.0, 0.0]))
        0.8333333333333333
    """
    return _average_precision(_curve(-_checked("ood_scores", ood_scores), -_checked("id_scores", id_scores)))


def id_threshold(id_scores: Scores) -> float:
    """Largest ID score that at least 95 % of the ID images reach.

    Args:
        id_scores: scores of ID images, 1-D.

    Returns:
        The threshold t: images with a score >= t are accepted as ID.

    Raises:
        DataError: if there are no scores, or they are not 1-D, or hold NaN or infinity.

    Example:
        >>> id_threshold(np.arange(100.0))
        5.0
    """
    return _threshold(_checked("id_scores", id_scores))


def fpr95_id_positive(id_scores: Scores, ood_scores: Scores, *, rule: str = "at_least") -> float:
    """Share of OOD accepted as ID at the threshold that accepts 95 % of ID: the FPR95 of this field's papers.

    Args:
        id_scores: scores of ID images, 1-D.
        ood_scores: scores of OOD images, 1-D.
        rule: "at_least", our definition: the threshold is `id_threshold`, the first ROC point with a recall of at
            least 0.95; or "mcm", the function that MCM, LoCoOp and NegPrompt's code copy from one another, for
            side-by-side tables only: of all scores the one whose recall is nearest to 0.95, among equal recalls the
            lowest score (but the highest with recall 1).

    Returns:
        A fraction in [0, 1], lower is better.

    Raises:
        ConfigError: if the rule is unknown.
        DataError: if a side is empty, not 1-D, or holds NaN or infinity.

    Example:
        >>> fpr95_id_positive(np.arange(100.0), np.array([4.5, 5.0, 6.0, 200.0]))
        0.75
    """
    if rule not in FPR95_RULES:
        message = f"rule='{rule}' is unknown for fpr95_id_positive; {nearest(rule, FPR95_RULES)}"
        raise ConfigError(message)
    return FPR95_RULES[rule](_checked("id_scores", id_scores), _checked("ood_scores", ood_scores))


def fpr95_ood_positive(id_scores: Scores, ood_scores: Scores) -> float:
    """Share of ID rejected at the threshold that rejects at least 95 % of OOD: OpenOOD's FPR95, another quantity.

    Args:
        id_scores: scores of ID images, 1-D.
        ood_scores: scores of OOD images, 1-D.

    Returns:
        A fraction in [0, 1], lower is better.

    Raises:
        DataError: if a side is empty, not 1-D, or holds NaN or infinity.

    Example:
        >>> fpr95_ood_positive(np.array([93.0, 94.0, 95.0, 200.0]), np.arange(100.0))
        0.5
    """
    return _fpr_at_least(-_checked("ood_scores", ood_scores), -_checked("id_scores", id_scores))


def ood_metrics(id_scores: Scores, ood_scores: Scores) -> dict[str, float]:
    """All metrics of one ID set against one OOD set, under the names of metrics.json.

    Args:
        id_scores: scores of ID images, 1-D.
        ood_scores: scores of OOD images, 1-D.

    Returns:
        Fractions `auroc`, `aupr_in`, `aupr_out`, `fpr95_id_positive`, `fpr95_ood_positive`; counts `n_id`, `n_ood`.

    Raises:
        DataError: if a side is empty, not 1-D, or holds NaN or infinity.
    """
    return {
        "auroc": auroc(id_scores, ood_scores),
        "aupr_in": aupr_in(id_scores, ood_scores),
        "aupr_out": aupr_out(id_scores, ood_scores),
        "fpr95_id_positive": fpr95_id_positive(id_scores, ood_scores),
        "fpr95_ood_positive": fpr95_ood_positive(id_scores, ood_scores),
        "n_id": len(id_scores),
        "n_ood": len(ood_scores),
    }


def _checked(name: str, scores: Scores) -> _Floats:
    values = scores.detach().cpu().double().numpy() if isinstance(scores, Tensor) else scores.astype(np.float64)
    if values.ndim != 1 or len(values) == 0:
        message = f"{name} has the shape {tuple(values.shape)}: a metric needs a 1-D list of at least one score."
        raise DataError(message)
    damaged = np.flatnonzero(~np.isfinite(values))
    if len(damaged) > 0:
        message = (
            f"{name} holds {len(damaged)} scores of {len(values)} that are NaN or infinite, the first is "
            f"{values[damaged[0]]} at position {damaged[0]}: check the score's temperature and trainer.precision."
        )
        raise DataError(message)
    return values


def _curve(positive: _Floats, negative: _Floats) -> _Curve:
    thresholds = np.unique(np.concatenate([positive, negative]))[::-1]
    return _Curve(
        thresholds,
        len(positive) - np.searchsorted(np.sort(positive), thresholds, side="left"),
        len(negative) - np.searchsorted(np.sort(negative), thresholds, side="left"),
    )


def _average_precision(curve: _Curve) -> float:
    precision = curve.positives / (curve.positives + curve.negatives)
    return float((np.diff(curve.positives, prepend=0) * precision).sum() / curve.positives[-1])


def _threshold(positive: _Floats) -> float:
    ascending = np.sort(positive)
    recall = (len(ascending) - np.searchsorted(ascending, ascending, side="left")) / len(ascending)
    return float(ascending[recall >= RECALL][-1])


def _fpr_at_least(positive: _Floats, negative: _Floats) -> float:
    return float(np.mean(negative >= _threshold(positive)))


def _fpr_mcm(positive: _Floats, negative: _Floats) -> float:
    curve = _curve(positive, negative)
    complete = int(np.searchsorted(curve.positives, len(positive)))  # the highest score that all ID images reach
    recall_from_low = curve.positives[complete::-1] / len(positive)
    nearest_recall = complete - int(np.argmin(np.abs(recall_from_low - RECALL)))
    return float(curve.negatives[nearest_recall] / len(negative))


FPR95_RULES: Mapping[str, Callable[[_Floats, _Floats], float]] = {"at_least": _fpr_at_least, "mcm": _fpr_mcm}
