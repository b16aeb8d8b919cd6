"""The row a method is known for, out of all scores a run has."""

from __future__ import annotations

from collections.abc import Sequence

from negprompt.reports.collect import MEAN, SummaryRow
from negprompt.scores.headline import CANDIDATES, DEFAULT, NEGATIVE_SCORE, NO_TEXT

_BY_METHOD = {"zero_shot": ("mcm", "max_logit"), "locoop": ("gl_mcm", "mcm")}


def headline(rows: Sequence[SummaryRow]) -> list[SummaryRow]:
    """Keep each method's own score: Eq. 3 with negative prompts, ATD and CTW with a "no" text tower, ZOC's, else MCM.

    With zero-shot CLIP goes max-logit as well, with LoCoOp GL-MCM. The best mean AUROC comes last.

    Args:
        rows: one a method and score.
    """
    own: dict[tuple[object, ...], tuple[str, ...]] = {}
    for row in rows:
        for scores in ((NEGATIVE_SCORE,), NO_TEXT, CANDIDATES):
            if row.score in scores:
                own[_run(row)] = scores
    kept = [row for row in rows if row.score in own.get(_run(row), _without(row.method))]
    return sorted(kept, key=lambda row: (row.benchmark, row.auroc[MEAN].mean))


def _without(method: str) -> tuple[str, ...]:
    return _BY_METHOD.get(method, DEFAULT)


def _run(row: SummaryRow) -> tuple[object, ...]:
    return row.benchmark, row.method, row.backbone, row.num_shots, row.class_fraction, row.num_negatives
