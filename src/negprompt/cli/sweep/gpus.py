"""GPUs of this machine, taken by lock: a run gets free ones, whoever else runs, and waits where there are none.

A job's number says nothing of which GPU is free once jobs take different times; a lock does, and the kernel takes it
back from an owner that died.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from filelock import FileLock, Timeout

VARIABLE = "CUDA_VISIBLE_DEVICES"
_POLL = 0.2


def visible(count: int) -> tuple[str, ...]:
    """Names of the GPUs that this process may use: those of CUDA_VISIBLE_DEVICES where it is set.

    Args:
        count: how many CUDA finds.
    """
    given = os.environ.get(VARIABLE)
    names = given.split(",") if given else map(str, range(count))
    return tuple(name.strip() for name in names)[:count]


@contextlib.contextmanager
def leased(
    names: Sequence[str], number: int, folder: Path | None = None, given_up: Callable[[], bool] = lambda: False
) -> Iterator[tuple[str, ...]]:
    """Hold some of the GPUs while the body runs, once that many are free.

    Who waits holds the queue's lock: one process at a time collects GPUs, so two that want several cannot each hold
    a part of what the other needs, and who wants many is not passed by those who want few.

    Args:
        names: to take from.
        number: how many.
        folder: of the locks; by default one of this user's in the folder for temporary files.
        given_up: asked while waiting; no GPU is handed out once it is true.
    """
    locks = _folder() if folder is None else folder
    locks.mkdir(mode=0o700, parents=True, exist_ok=True)
    held: dict[str, FileLock] = {}
    try:
        with _waited_for(FileLock(locks / "queue.lock"), given_up):
            while len(held) < number and not given_up():
                for name in names:
                    if len(held) < number and name not in held:
                        lock = FileLock(locks / (re.sub(r"[^\w-]", "_", name) + ".lock"))
                        with contextlib.suppress(Timeout):
                            lock.acquire(timeout=0)
                            held[name] = lock
                if len(held) < number:
                    time.sleep(_POLL)
        yield tuple(name for name in names if name in held)
    finally:
        for lock in held.values():
            lock.release()


@contextlib.contextmanager
def _waited_for(lock: FileLock, given_up: Callable[[], bool]) -> Iterator[None]:
    while not given_up():
        with contextlib.suppress(Timeout):
            lock.acquire(timeout=_POLL)
            break
    try:
        yield
    finally:
        if lock.is_locked:
            lock.release()


def _folder() -> Path:
    return Path(tempfile.gettempdir()) / f"negprompt-gpus-{getpass.getuser()}"
