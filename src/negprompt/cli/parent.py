"""A process that another negprompt started ends when that one dies: it gets SIGTERM, saves, and leaves no orphan."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys

VARIABLE = "NEGPROMPT_PARENT"
"""Environment variable with the id of the process to follow."""

_PR_SET_PDEATHSIG = 1


def die_with(number: int) -> None:
    """Ask the kernel for a signal at the end of the parent; only Linux can.

    Raises:
        OSError, AttributeError: the libc has no prctl.
    """
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number)


def follow() -> None:
    """Ask the kernel for SIGTERM at the end of the parent that `VARIABLE` names; only Linux can."""
    parent = os.environ.pop(VARIABLE, "")  # for this process alone, not for those that it starts
    if not parent or sys.platform != "linux":
        return
    with contextlib.suppress(OSError, AttributeError):  # a libc without prctl
        die_with(signal.SIGTERM)
    if os.getppid() != int(parent):  # it was gone before we asked
        os.kill(os.getpid(), signal.SIGTERM)
