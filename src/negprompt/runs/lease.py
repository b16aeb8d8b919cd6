"""One process works in a run folder at a time, also on a network file system and under Slurm.

Who works there has the highest file of `<folder's parent>/.<folder's name>.lease/`: `1.json`, `2.json`, ... Making the
next one is atomic, so of several processes that find a dead owner one takes over. The owner touches its file as a sign
of life. The files lie beside the folder, not in it: the folder can be moved while it is held.
"""

from __future__ import annotations

import contextlib
import datetime
import errno
import json
import logging
import os
import random
import re
import secrets
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from negprompt.errors import RunBusyError, RunError
from negprompt.runs.exclusive import create
from negprompt.runs.folder import explained
from negprompt.runs.owner import Owner, has_ended, is_earlier_me, myself

HEARTBEAT_S = 15.0
EXPIRY_S = 300.0
"""Without a sign of life for that long an owner is dead, wherever it ran."""

WAIT_S = 2.0

_TRIES = 200
_CHANGED = (errno.ENOENT, errno.ESTALE, errno.EEXIST)
"""What is said of files that somebody else has just removed; the last one by `mkdir` of the folder."""

log = logging.getLogger(__name__)


class Holder(NamedTuple):
    """The process that holds a run folder; `restart` counts how often Slurm has queued its job again."""

    host: str
    pid: int
    job_id: str | None
    restart: int
    since: str


class _Present(NamedTuple):
    """The highest file: its number, who made it (None: not wholly written yet), seconds since its last touch."""

    number: int
    owner: Owner | None
    age: float

    def is_dead(self, expiry: float) -> bool:
        """Whether nobody works there any more."""
        if self.age > expiry:
            return True
        if self.owner is None:
            return False
        # A job's state is asked for only after some silence: the answer takes time, and who beats is alive.
        return is_earlier_me(self.owner) or has_ended(self.owner, ask_slurm=self.age > 3 * HEARTBEAT_S)


class Lease:
    """A run folder that this process holds."""

    def __init__(self, folder: Path, path: Path, key: str) -> None:
        self.folder = folder
        self._path = path
        self._key = key

    def check(self) -> None:
        """To be called before results are written.

        Raises:
            RunError: another process took the folder over, since this one gave no sign of life, or the folder is gone,
                or the file server does not answer.
        """
        if not self.folder.is_dir():
            msg = f"The run folder {self.folder} was removed while the run worked in it: run the same command again."
            raise RunError(msg)
        with explained(self.folder):
            lost = not self.is_mine()
        if lost:
            msg = (
                f"The run folder {self.folder} was taken over by another process, since this one gave no sign of life "
                f"for {EXPIRY_S:.0f} s. This one wrote nothing more; the same command shows how the other gets on."
            )
            raise RunError(msg)

    def is_mine(self) -> bool:
        """Whether nobody took the folder over; opening the file asks the file server, whatever is cached here.

        Raises:
            OSError: the file server does not answer, which tells nothing.
        """
        return _made_by(self._path, self._key) and _numbers(self._path.parent)[-1:] == [self._number]

    def beat_until(self, stop: threading.Event, every: float) -> None:
        """Give signs of life; the file server's clock makes their times, and its hiccups do not end them."""
        while not stop.wait(every):
            with contextlib.suppress(OSError):
                if self.is_mine():
                    os.utime(self._path)

    def release(self) -> None:
        """Let others work in the folder."""
        with contextlib.suppress(OSError):
            if self.is_mine():
                self._path.unlink()
                for unfinished in self._path.parent.glob(".*.tmp"):  # whoever needs it tries again
                    unfinished.unlink(missing_ok=True)
                self._path.parent.rmdir()

    @property
    def _number(self) -> int:
        return int(self._path.stem)


@contextlib.contextmanager
def lease(folder: Path, *, heartbeat: float = HEARTBEAT_S, expiry: float = EXPIRY_S) -> Iterator[Lease]:
    """Hold a run folder while the body runs. A dead owner's folder is taken over; a live one is not waited for.

    Args:
        folder: the run folder; it need not be there yet, the folder above it is made.
        heartbeat: seconds between two signs of life.
        expiry: seconds without one after which an owner is dead.

    Raises:
        RunBusyError: another process holds it.
        RunError: the place cannot be written.
    """
    with explained(folder):
        held = _acquire(folder, expiry)
    stop = threading.Event()
    beating = threading.Thread(target=held.beat_until, args=(stop, heartbeat), name="lease", daemon=True)
    try:
        beating.start()
        yield held
    finally:
        stop.set()
        held.release()


@contextlib.contextmanager
def lease_when_free(folder: Path, *, every: float = WAIT_S) -> Iterator[Lease]:
    """Hold a run folder while the body runs, once whoever has it now is done, gone or dead.

    Args:
        folder: the run folder.
        every: seconds between two looks.

    Raises:
        RunError: the place cannot be written.
    """
    start, minutes = time.monotonic(), 0
    with contextlib.ExitStack() as stack:
        while True:
            try:
                held = stack.enter_context(lease(folder))
                break
            except RunBusyError as busy:
                if time.monotonic() - start >= 60 * minutes:
                    log.info("waiting (%d min): %s", minutes, busy)
                    minutes += 1
            time.sleep(every)
        yield held


def holder(folder: Path) -> Holder | None:
    """The live process that holds a run folder, None where nobody works in it."""
    try:
        present = _present(_place(folder))
    except OSError:
        return None
    if present is None or present.owner is None or present.is_dead(EXPIRY_S):
        return None
    owner = present.owner
    return Holder(owner.host, owner.pid, owner.job_id, owner.restart, owner.since)


def _place(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.lease")


def _acquire(folder: Path, expiry: float) -> Lease:
    place, me = _place(folder), myself(secrets.token_hex(8), _now_here())
    for tries_left in reversed(range(_TRIES)):
        try:
            place.mkdir(parents=True, exist_ok=True)
            present = _present(place)
            if present is not None and not present.is_dead(expiry):
                raise RunBusyError(_busy(folder, present.owner))
            number = 1 if present is None else present.number + 1
            path = place / f"{number}.json"
            # Much can happen after the look: Slurm is slow to answer, machines stall. A number that was used and
            # removed since is lower than the present owner's; where numbers began at 1 again, what it replaces is gone.
            # The first look at that only keeps others from seeing a wrong number, the second one decides.
            if _is_there(place, present) and create(path, json.dumps(me._asdict(), indent=1).encode()):
                numbers = _numbers(place)
                if numbers[-1:] == [number] and _is_there(place, present):
                    for older in numbers[:-1]:
                        (place / f"{older}.json").unlink(missing_ok=True)
                    return Lease(folder, path, me.key)
                path.unlink(missing_ok=True)
        except OSError as error:
            if error.errno not in _CHANGED or not tries_left:
                raise
        time.sleep(random.uniform(0, 0.05))
    raise RunBusyError(_busy(folder, None))


def _present(place: Path) -> _Present | None:
    numbers = _numbers(place)
    if not numbers:
        return None
    owner, touched = _read(place / f"{numbers[-1]}.json")
    return _Present(numbers[-1], owner, _now(place.parent) - touched)


def _is_there(place: Path, replaced: _Present | None) -> bool:
    """Whether the file that is to be replaced is still the one that was looked at."""
    if replaced is None or replaced.owner is None:
        return True
    return _made_by(place / f"{replaced.number}.json", replaced.owner.key)


def _numbers(place: Path) -> list[int]:
    try:
        return sorted(int(path.stem) for path in place.iterdir() if re.fullmatch(r"\d+\.json", path.name))
    except FileNotFoundError:
        return []


def _read(path: Path) -> tuple[Owner | None, float]:
    """Who made a file, and when it was touched last."""
    with path.open(encoding="utf-8") as file:
        touched = os.fstat(file.fileno()).st_mtime
        try:
            return Owner(**json.load(file)), touched
        except (ValueError, TypeError):
            return None, touched


def _made_by(path: Path, key: str) -> bool:
    try:
        owner = _read(path)[0]
    except OSError as error:
        if error.errno not in _CHANGED:
            raise
        return False
    return owner is not None and owner.key == key


def _now(folder: Path) -> float:
    """The time on the file server's clock; clocks of two machines are never compared."""
    with tempfile.TemporaryFile(dir=folder) as probe:
        with contextlib.suppress(OSError):  # on a full disk, the time of its making will do
            probe.write(b"now")
            probe.flush()
            os.fsync(probe.fileno())
        return os.fstat(probe.fileno()).st_mtime


def _now_here() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def _busy(folder: Path, owner: Owner | None) -> str:
    who = "another process" if owner is None else owner.words()
    return (
        f"The run in {folder} is being made right now by {who}. Wait for it: afterwards the same command finds the run "
        f"finished, or goes on with it. If that process is gone, try again in {EXPIRY_S / 60:.0f} minutes."
    )
