"""Signals that stop a command: at once, or, while a model trains, at the next optimiser step."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
"""Ctrl-C; the end of a job; what clusters send some time before it."""


class _State:
    """What this process was told; a process has one set of signal handlers."""

    listening: tuple[signal.Signals, ...] = ()
    received: signal.Signals | None = None
    interrupted = False
    waits = False


def listen() -> None:
    """Let signals stop this command from now on; must be called in the main thread.

    The first one raises KeyboardInterrupt, or waits for `at_boundaries` to see it. Later ones change nothing, since a
    cluster sends several at once and what is being saved must not be cut; only a second Ctrl-C insists. A signal that
    the process was started to ignore (a command in the background, `nohup`) stays ignored.
    """
    forget()
    _State.listening = tuple(number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN)
    take_back()


def forget() -> None:
    """Listen no more; whoever had the handlers before puts them back."""
    _State.listening, _State.received = (), None
    _State.interrupted = _State.waits = False


@contextmanager
def held_back() -> Iterator[None]:
    """Start helper processes in the body: they get no signal before `leave_to_parent`, this process after the body."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def leave_to_parent(worker: int = 0) -> None:
    """Let a helper process, number `worker`, live through a signal that is sent to a job's processes all at once.

    The command itself still needs it up to the next step, and then ends it.
    """
    del worker
    for number in SIGNALS:
        if number != signal.SIGTERM:  # by which the command ends it
            signal.signal(number, signal.SIG_IGN)
    heard = set(SIGNALS)
    if sys.platform == "linux":  # elsewhere nobody tells who sent a signal
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_end_with_parent, daemon=True).start()
        heard.remove(signal.SIGTERM)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, heard)


def take_back() -> None:
    """Install the handlers of `listen` again, after a library put its own in their place."""
    for number in _State.listening:
        signal.signal(number, _on_signal)


def received() -> signal.Signals | None:
    """The signal that stops this command, None as long as there was none."""
    return _State.received


@contextmanager
def at_boundaries() -> Iterator[None]:
    """Only note signals while the body runs, which asks for `received()` wherever it can stop.

    Raises:
        KeyboardInterrupt: at the end, where a signal came too late for the body to see.
    """
    _State.waits = bool(_State.listening)
    try:
        yield
    finally:
        _State.waits = False
    if _State.received is not None:
        raise KeyboardInterrupt


def _end_with_parent() -> None:
    if sys.platform == "linux":
        while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
            pass
        os._exit(0)


def _on_signal(number: int, frame: FrameType | None) -> None:
    del frame
    insists = number == signal.SIGINT and _State.interrupted
    _State.interrupted |= number == signal.SIGINT
    if _State.received is not None and not insists:
        return
    _State.received = signal.Signals(number)
    if insists or not _State.waits:
        raise KeyboardInterrupt
