"""Ctrl-C and SIGTERM end a command alike: at once, with one message, and nothing lost that was finished."""

from __future__ import annotations

import signal
import sys
from types import FrameType

_received = [signal.SIGINT]


def end_on_sigterm() -> None:
    """Let SIGTERM (of a cluster, a service manager, `kill`) interrupt the command as Ctrl-C does."""
    signal.signal(signal.SIGTERM, _interrupt)


def report(name: str) -> int:
    """Say that the command was stopped; returns its exit code, 130 or 143."""
    by = signal.Signals(_received[0])
    how = "interrupted" if by == signal.SIGINT else f"stopped by {by.name}"
    print(  # noqa: T201 -- the command line's own output
        f"\nnegprompt {name}: {how}. What was finished is kept; the same command goes on from there.", file=sys.stderr
    )
    return 128 + by


def _interrupt(number: int, frame: FrameType | None) -> None:
    del frame
    _received[0] = signal.Signals(number)
    raise KeyboardInterrupt
