"""What a look at a machine finds, and how it is kept from failing on what is odd there."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal, NamedTuple

State = Literal["ok", "note", "warning", "missing"]


class Finding(NamedTuple):
    """One line of the doctor's table.

    `state`: note where nothing is good or bad about it; missing where the given settings need it. `fix`: what to do.
    """

    name: str
    state: State
    text: str
    fix: str = ""


def looked(name: str, look: Callable[[], Iterable[Finding]]) -> list[Finding]:
    """All findings of `look`, or one that says why it could not look: an odd machine must not hide the rest."""
    try:
        return list(look())
    except Exception as error:  # noqa: BLE001 -- whatever is odd there
        return [Finding(name, "warning", f"could not be looked at ({type(error).__name__}: {error})")]
