"""The row a method is known for, out of all scores a run has."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from negprompt.reports.collect import MEAN, SummaryRow

_NEGATIVE_SCORE = "negprompt"
_BY_METHOD = {"zero_shot": ("mcm", "max_logit"), "locoop": ("gl_mcm", "mcm")}
_NO_TEXT = ("atd", "ctw")
_CANDIDATES = ("zoc",)
_DEFAULT = ("mcm",)


def headline(rows: Sequence[SummaryRow]) -> list[SummaryRow]:
    """Keep each method's own score: Eq. 3 with negative prompts, ATD and CTW with a "no" text tower, ZOC's, else MCM.

    With zero-shot CLIP goes max-logit as well, with LoCoOp GL-MCM. The best mean AUROC comes last.

    Args:
        rows: one a method and score.
    """
    own: dict[tuple[object, ...], tuple[str, ...]] = {}
    for row in rows:
        for scores in ((_NEGATIVE_SCORE,), _NO_TEXT, _CANDIDATES):
            if row.score in scores:
                own[_run(row)] = scores
    kept = [row for row in rows if row.score in own.get(_run(row), _without(row.method))]
    return sorted(kept, key=lambda row: (row.benchmark, row.auroc[MEAN].mean))


def headline_score(scores: Collection[str]) -> str:
    """The one score that a run is judged by, of those it has: Eq. 3, else ATD, ZOC's or MCM, else its first."""
    return next(
        (name for name in (_NEGATIVE_SCORE, *_NO_TEXT, *_CANDIDATES, *_DEFAULT) if name in scores), next(iter(scores))
    )


def _without(method: str) -> tuple[str, ...]:
    return _BY_METHOD.get(method, _DEFAULT)


def _run(row: SummaryRow) -> tuple[object, ...]:
    return row.benchmark, row.method, row.backbone, row.num_shots, row.class_fraction, row.num_negatives
