"""What a search finds out about one set of settings."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

from negprompt.search.space import Value

DIRECTIONS: dict[str, Literal["maximize", "minimize"]] = {
    "auroc": "maximize",
    "aupr_in": "maximize",
    "aupr_out": "maximize",
    "fpr95_id_positive": "minimize",
    "fpr95_ood_positive": "minimize",
}
"""What is better of each metric that a search can follow."""


class Trial(NamedTuple):
    """One set of settings: its number from 0, what was found out about it, and its value where it is done."""

    number: int
    params: dict[str, Value]
    state: Literal["running", "done", "failed"]
    value: float | None
    notes: dict[str, Any]

    @property
    def error(self) -> str:
        """Why it failed."""
        return str(self.notes.get("error", ""))
