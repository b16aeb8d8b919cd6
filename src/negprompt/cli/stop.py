"""What a command that was stopped by a signal says; nothing is lost that was finished."""

from __future__ import annotations

import signal
import sys

from negprompt import stopping

KEPT = "What was finished is kept; the same command goes on from there."


def report(name: str, kept: str = KEPT) -> int:
    """Say that the command was stopped and what is kept; returns 128 and the signal's number (130 after Ctrl-C)."""
    by = stopping.received() or signal.SIGINT
    how = "interrupted" if by == signal.SIGINT else f"stopped by {by.name}"
    print(  # noqa: T201 -- the command line's own output
        f"\nnegprompt {name}: {how}. {kept}", file=sys.stderr
    )
    return 128 + by
