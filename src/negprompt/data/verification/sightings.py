"""Every picture of a set read and decoded once: hashes of the file and of what is seen, colour modes, faults."""

from __future__ import annotations

import errno
import hashlib
import os
import re
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from negprompt.data.base import Problem, Source
from negprompt.data.contents import Contents, Files
from negprompt.data.decoding import decode, mode_of
from negprompt.data.listing import Listing
from negprompt.data.verification.duplicates import HASH_WORDS, perceptual_hash
from negprompt.data.verification.wording import few
from negprompt.errors import NegPromptError

Progress = Callable[[Iterable[Any], str, int], Iterable[Any]]
"""Wraps an iterable of a known length for a progress bar: (iterable, text, total)."""

_THREADS = (os.cpu_count() or 1) + 2  # some wait for the disk while the others decode
_AHEAD = 8
_KINDS = 4
_MISSING, _UNREAD = "is missing", "cannot be read"
_PLURAL = {"is": "are", "has": "have", "does": "do"}


class Sightings(NamedTuple):
    """What was seen of one set.

    `listing`, `sha256` (N, 32) and `looks` (N, W): the pictures that could be decoded; `modes`: how many are saved in
    which colour mode; `faults`: rows of `read` by what is wrong with them.
    """

    source: Source
    read: Listing
    listing: Listing
    sha256: npt.NDArray[np.uint8]
    looks: npt.NDArray[np.uint64]
    modes: Counter[str]
    faults: dict[str, list[int]]

    @property
    def unreadable(self) -> int:
        """Number of pictures that could not be decoded."""
        return sum(map(len, self.faults.values()))


class _Sight(NamedTuple):
    sha256: bytes
    looks: npt.NDArray[np.uint64] | None
    mode: str
    fault: str


def see(source: Source, listing: Listing, progress: Progress, threads: int = _THREADS) -> Sightings:
    """Read and decode the pictures of a listing; of those that were read hashes are kept, 64 bytes each.

    Args:
        source: of the listing.
        listing: pictures to read.
        progress: wraps an iterable of a known length for a progress bar.
        threads: that read and decode.
    """
    sha256 = np.zeros((len(listing), 32), np.uint8)
    looks = np.zeros((len(listing), HASH_WORDS), np.uint64)
    modes: Counter[str] = Counter()
    faults: dict[str, list[int]] = defaultdict(list)
    sights = _sights(listing.contents, threads)
    for row, sight in enumerate(progress(sights, f"reading {source.name}", len(listing))):
        if sight.looks is None:
            faults[sight.fault].append(row)
            continue
        sha256[row] = np.frombuffer(sight.sha256, np.uint8)
        looks[row] = sight.looks
        modes[sight.mode] += 1
    whole = listing
    if faults:
        good = np.delete(np.arange(len(listing)), [row for rows in faults.values() for row in rows])
        whole, sha256, looks = listing.take(good), sha256[good], looks[good]
    return Sightings(source, listing, whole, sha256, looks, modes, dict(faults))


def fault_problems(seen: Sightings, skipping: str) -> Iterator[Problem]:
    """Pictures that cannot be used, by what is wrong with them.

    Args:
        seen: of a set.
        skipping: setting under which runs leave such pictures out, "" where there is none.
    """
    kinds: dict[str, list[str]] = defaultdict(list)
    for fault in seen.faults:
        kinds[re.sub(r"\d+", "*", fault)].append(fault)
    sizes = {kind: sum(len(seen.faults[fault]) for fault in faults) for kind, faults in kinds.items()}
    shown = sorted(sizes, key=lambda kind: -sizes[kind])
    for kind in shown[:_KINDS]:
        (text, *others) = kinds[kind]
        rows = sorted(row for fault in kinds[kind] for row in seen.faults[fault])
        yield _fault_problem(seen, kind if others else text, rows, skipping)
    rest = [fault for kind in shown[_KINDS:] for fault in kinds[kind]]
    if rest:
        rows = sorted(row for fault in rest for row in seen.faults[fault])
        yield _fault_problem(seen, "cannot be decoded for other reasons", rows, skipping)


def place(listing: Listing, row: int) -> str:
    """Where a picture lies; its name too, where it is no file of its own."""
    where = listing.contents.place(row)
    return where if isinstance(listing.contents, Files) else f"{listing.keys[row]} ({where})"


def _fault_problem(seen: Sightings, fault: str, rows: Sequence[int], skipping: str) -> Problem:
    verb, _, rest = fault.partition(" ")
    said = fault if len(rows) == 1 else f"{_PLURAL.get(verb, verb)} {rest}"
    what = f"{len(rows):,} of {len(seen.read):,} pictures {said}"
    if fault == _MISSING:
        fix = "Put them back, or take them out of the list."
    elif fault.startswith(_UNREAD):
        fix = "Check the permissions of the files and the disk."
    else:
        fix = "Get them again, or remove them."
        fix += f" With {skipping} runs leave them out and count them." if skipping else ""
    examples = few([place(seen.read, row) for row in rows[:3]], len(rows))
    return Problem(seen.source.name, what, fix, examples=examples)


def _sights(contents: Contents, threads: int) -> Iterator[_Sight]:
    """A look at each picture, in order, by threads a little ahead: decoding gives the interpreter's lock back."""
    pool = ThreadPoolExecutor(threads)
    waiting: deque[Future[_Sight]] = deque()
    try:
        for row in range(len(contents)):
            waiting.append(pool.submit(_sight, contents, row))
            if len(waiting) > _AHEAD * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:  # Ctrl-C must not wait for the pictures ahead
        pool.shutdown(wait=False, cancel_futures=True)


def _sight(contents: Contents, row: int) -> _Sight:
    try:
        encoded = contents.read(row)
        image = decode(encoded, "", "")
        return _Sight(hashlib.sha256(encoded).digest(), perceptual_hash(image), mode_of(encoded), "")
    except Exception as error:  # noqa: BLE001 -- one picture, whatever it is, must not end the look at a million others
        return _Sight(b"", None, "", _fault(error))


def _fault(error: Exception) -> str:
    """What is wrong with a picture, as a verb and its rest; without the picture's name, to count those alike."""
    cause = error.__cause__
    if isinstance(cause, FileNotFoundError):
        return _MISSING
    if isinstance(cause, OSError) and cause.errno and cause.errno != errno.ENOENT:
        return f"{_UNREAD} ({cause.strerror})"
    if not isinstance(error, NegPromptError):
        return f"cannot be used ({type(error).__name__}: {error})"
    text = str(error).removeprefix("Picture '' of  ").removesuffix(".")
    text = text.rpartition(": ")[0] or text
    return text if text.partition(" ")[0] in (*_PLURAL, "cannot") else f"cannot be used ({text})"
