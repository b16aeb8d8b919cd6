"""The row a method is known for, out of all scores a run has."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from negprompt.reports.collect import MEAN, SummaryRow

_NEGATIVE_SCORE = "negprompt"
_ZERO_SHOT = ("mcm", "max_logit")
_DEFAULT = ("mcm",)


def headline(rows: Sequence[SummaryRow]) -> list[SummaryRow]:
    """Keep each method's own score: Eq. 3 with negative prompts, MCM (and max-logit) without; best mean AUROC last.

    Args:
        rows: one a method and score.
    """
    with_negatives = {_run(row) for row in rows if row.score == _NEGATIVE_SCORE}
    kept = [row for row in rows if row.score in _scores(row, with_negatives)]
    return sorted(kept, key=lambda row: (row.benchmark, row.auroc[MEAN].mean))


def headline_score(scores: Collection[str]) -> str:
    """The one score that a run is judged by, of those it has: Eq. 3 with negative prompts, else MCM, else its first."""
    return next((name for name in (_NEGATIVE_SCORE, *_DEFAULT) if name in scores), next(iter(scores)))


def _scores(row: SummaryRow, with_negatives: set[tuple[object, ...]]) -> tuple[str, ...]:
    if _run(row) in with_negatives:
        return (_NEGATIVE_SCORE,)
    return _ZERO_SHOT if row.method == "zero_shot" else _DEFAULT


def _run(row: SummaryRow) -> tuple[object, ...]:
    return row.benchmark, row.method, row.backbone, row.num_shots, row.class_fraction, row.num_negatives
