"""Counts and lists as messages say them."""

from __future__ import annotations

from collections.abc import Sequence


def counted(count: int, one: str, many: str = "") -> str:
    """A number and its noun.

    Example:
        >>> counted(1, "picture"), counted(1200, "picture"), counted(2, "class has", "classes have")
        ('1 picture', '1,200 pictures', '2 classes have')
    """
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def some(names: Sequence[str], shown: int = 5) -> str:
    """The first of many names in a sentence.

    Example:
        >>> some(["a", "b", "c"], shown=2)
        'a, b and 1 more'
    """
    more = f" and {len(names) - shown:,} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more


def few(lines: Sequence[str], total: int | None = None, shown: int = 3) -> tuple[str, ...]:
    """The first of many examples, and how many more there are.

    Args:
        lines: examples, not all of them where `total` says so.
        total: number of all; by default that of the lines.
        shown: most that are shown.

    Example:
        >>> few(["a.jpg", "b.jpg", "c.jpg"], shown=2)
        ('a.jpg', 'b.jpg', 'and 1 more')
    """
    kept = tuple(lines[:shown])
    more = (len(lines) if total is None else total) - len(kept)
    return (*kept, f"and {more:,} more") if more > 0 else kept
