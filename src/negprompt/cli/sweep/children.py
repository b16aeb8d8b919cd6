"""Child processes that run members: started alone, told of every signal once, waited for while they save."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import IO

from negprompt import stopping
from negprompt.cli import parent
from negprompt.cli.sweep import nursery as nurseries
from negprompt.cli.sweep.nursery import Forked, Nursery

STOPPED = {128 + one for one in stopping.SIGNALS} | {-one for one in stopping.SIGNALS}
"""Exit codes of a run that was asked to save and end."""

PATIENCE = 300.0
"""Seconds that a child has to save before it is killed."""

_POLL = 0.1
# Of a torchrun or an srun around this process: a child is a first process of its own.
_MISLEADING = (
    "RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_RANK", "GROUP_WORLD_SIZE", "ROLE_RANK", "ROLE_NAME",
    "ROLE_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID", "SLURM_NTASKS",
    "SLURM_NPROCS", "SLURM_NTASKS_PER_NODE", "SLURM_TASKS_PER_NODE", "SLURM_TASK_PID", "SLURM_GTIDS", "SLURM_STEPID",
)  # fmt: skip
_MISLEADING_PREFIXES = ("TORCHELASTIC_", "SLURM_STEP_", "SLURM_SRUN_", "SUBMITIT_")

Child = subprocess.Popen[bytes] | Forked
"""A child that runs or has ended, started the ordinary way or forked."""

_running: set[Child] = set()
_nurseries: list[Nursery] = []
_lock = threading.RLock()  # a handler may interrupt its owner
_received: list[signal.Signals] = []
_deadline = [float("inf")]


def run(
    words: Sequence[str], *, environment: Mapping[str, str], output: IO[bytes] | None, own_session: bool
) -> int | None:
    """Start `negprompt <words>` as a child and wait for its end.

    Args:
        words: command and overrides.
        environment: variables to set, beside those of this process.
        output: file for all that it says; None shows it as it comes.
        own_session: keep a terminal's Ctrl-C, which goes to a whole group of processes, from it: `stop` tells it.

    Returns:
        Its exit code, negative for death by a signal; None where it was not started since all are to stop.
    """
    _await_nursery()
    with _lock:
        if _received:
            return None
        child = start(words, environment=environment, output=output, own_session=own_session)
        _running.add(child)
    try:
        # Not child.wait(): a signal does not always end a wait in the kernel, and then its handler never runs.
        while child.poll() is None:
            if time.monotonic() > _deadline[0]:
                _kill(child, own_session)
            time.sleep(_POLL)
    finally:
        with _lock:
            _running.discard(child)
    return child.returncode


def start(
    words: Sequence[str], *, environment: Mapping[str, str], output: IO[bytes] | None, own_session: bool
) -> Child:
    """Start `negprompt <words>` as a child; arguments as for `run`."""
    _await_nursery()
    whole = variables(environment)
    for nursery in _nurseries:
        if child := nursery.spawn(words, whole, output, own_session=own_session):
            return child
    return subprocess.Popen(
        [*python(), *words],
        env=whole,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT if output else None,
        start_new_session=own_session,
    )


@contextlib.contextmanager
def forked(environment: Mapping[str, str], *, own_session: bool) -> Iterator[None]:
    """Start children that are run in the body from a nursery, so that they need not import anything.

    Args:
        environment: variables to set for all of them, beside those of this process.
        own_session: as for `run`.
    """
    with nurseries.opened(variables(environment), own_session=own_session) as nursery:
        if nursery is not None:
            _nurseries.append(nursery)
        try:
            yield
        finally:
            _nurseries.clear()


def _await_nursery() -> None:
    for nursery in _nurseries:
        nursery.wait(given_up=lambda: bool(_received))


def stop(number: int, frame: FrameType | None = None) -> None:
    """Tell all children to save and end, and start no more; each signal once, a second Ctrl-C kills.

    A signal handler, and a function to call.
    """
    del frame
    received = signal.Signals(number)
    with _lock:
        again = received in _received
        if not again:
            _received.append(received)
            _deadline[0] = min(_deadline[0], time.monotonic() + PATIENCE)
        if again and received == signal.SIGINT:
            _deadline[0] = 0
        for child in _running:
            if not again and child.poll() is None:
                child.send_signal(received)


def received() -> signal.Signals | None:
    """The signal that began to stop the children."""
    return _received[0] if _received else None


def wait_for_all() -> None:
    """Wait until no child runs any more, at most as long as they may take to save."""
    while any(child.poll() is None for child in list(_running)) and time.monotonic() < _deadline[0]:
        time.sleep(_POLL)


@contextlib.contextmanager
def stopped_by_signals() -> Iterator[None]:
    """Hand signals of this process on to its children while the body runs; to be called by the main thread."""
    before = {number: signal.signal(number, stop) for number in stopping.SIGNALS}
    _received.clear()
    _deadline[0] = float("inf")
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)


def python() -> list[str]:
    """The beginning of a child's command."""
    return [sys.executable, "-m", "negprompt"]


def variables(changes: Mapping[str, str]) -> dict[str, str]:
    """A child's environment: this one's, without what would mislead it, and who its parent is."""
    kept = {
        key: value
        for key, value in os.environ.items()
        if key not in _MISLEADING and not key.startswith(_MISLEADING_PREFIXES)
    }
    kept.pop("HYDRA_FULL_ERROR", None)  # set by this process for itself
    return {**kept, **changes, parent.VARIABLE: str(os.getpid())}


def _kill(child: Child, whole_session: bool) -> None:
    with contextlib.suppress(ProcessLookupError):
        if whole_session:
            os.killpg(child.pid, signal.SIGKILL)
        else:
            child.kill()


def log_file(path: Path) -> IO[bytes]:
    """A child's log, to be appended to by every attempt."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.open("ab")
