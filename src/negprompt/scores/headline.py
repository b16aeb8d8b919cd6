"""Which of its scores a run is judged by."""

from __future__ import annotations

from collections.abc import Collection

NEGATIVE_SCORE = "negprompt"
NO_TEXT = ("atd", "ctw")
CANDIDATES = ("zoc",)
DEFAULT = ("mcm",)


def headline_score(scores: Collection[str]) -> str:
    """The one score that a run is judged by, of those it has: Eq. 3, else ATD, ZOC's or MCM, else its first."""
    return next(
        (name for name in (NEGATIVE_SCORE, *NO_TEXT, *CANDIDATES, *DEFAULT) if name in scores), next(iter(scores))
    )
