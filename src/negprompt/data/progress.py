"""Progress bars of long looks at data: one process draws them, on a terminal, beside what a command prints."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from rich.console import Console
from rich.progress import track

from negprompt.ranks import rank

Item = TypeVar("Item")


def shown(items: Iterable[Item], text: str, total: int, at_least: int) -> Iterable[Item]:
    """The items, with a bar where there are `at_least` so many."""
    console = Console(stderr=True)
    silent = rank() > 0 or total < at_least or not console.is_terminal
    return track(items, text, total=total, console=console, transient=True, disable=silent)
