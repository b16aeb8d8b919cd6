"""One process at a time computes an entry; the others wait, then read what it wrote."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from negprompt.errors import RunError
from negprompt.features.partial import ELSEWHERE
from negprompt.runs.folder import explained

log = logging.getLogger(__name__)


class EntryLocks:
    """Locks of entries. The kernel takes them back when their owner dies, however it dies."""

    def __init__(self) -> None:
        self._held: list[FileLock] = []

    def take(self, folder: Path) -> None:
        """Wait until no other process computes this entry, then keep others from doing so.

        To be called in one order of the folders everywhere, else two processes could wait for each other.

        Raises:
            RunError: the folder above cannot be written, or its file system has no locks.
        """
        path = folder.with_name(f".{folder.name}.lock")
        lock = FileLock(path)
        with explained(path, ELSEWHERE):
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                self._acquire(lock, folder)
            except NotImplementedError as error:
                msg = f"The file system of {folder.parent} has no file locks: set another {ELSEWHERE}."
                raise RunError(msg) from error
        self._held.append(lock)

    def release(self) -> None:
        """Give all locks back."""
        while self._held:
            self._held.pop().release()

    @contextlib.contextmanager
    def released_after(self) -> Iterator[None]:
        """Give all locks back at the end of the body, however it ends."""
        try:
            yield
        finally:
            self.release()

    def _acquire(self, lock: FileLock, folder: Path) -> None:
        try:
            lock.acquire(timeout=0)
        except Timeout:
            log.info("image features: waiting for another process, which computes %s", folder)
            lock.acquire()
