"""A look at the pictures of a set before a run: all there, content hashes, and on request which can be decoded."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
import numpy.typing as npt

from negprompt.data.cache import read_arrays, write_arrays
from negprompt.data.contents import AlteredError, Contents, Digests, Files, Memory
from negprompt.data.decoding import decode
from negprompt.data.listing import Listing
from negprompt.data.progress import shown
from negprompt.errors import DataError

log = logging.getLogger(__name__)

Corrupt = Literal["stop", "skip"]
Result = TypeVar("Result")

_WAITING, _DECODING = 16, max(1, os.cpu_count() or 1)
_WORTH_A_BAR = 2000
UNKNOWN, READABLE, UNREADABLE = 0, 1, 2
_NOTHING = np.zeros(0)


@dataclass(frozen=True)
class _Seen:
    """What is known of N pictures: size and time of change (N, 2), content hashes (N, 32), readable or not (N,)."""

    stat: npt.NDArray[np.int64]
    known: Digests
    readable: npt.NDArray[np.uint8]


def looked_at(listing: Listing, name: str, cache_dir: Path | None, corrupt: Corrupt) -> Listing:
    """The same pictures with their content hashes, under `corrupt="skip"` without those that cannot be decoded.

    A picture is read once; what was seen is remembered with its size and time of change. Pictures in shards, whose
    hashes are listed, are not read at all under `corrupt="stop"`.

    Args:
        listing: pictures in files or shards; those in memory are returned as they are.
        name: of the set, for messages.
        cache_dir: where to remember, None for nowhere.
        corrupt: what a picture does that cannot be decoded or is not the one that its index lists.

    Raises:
        DataError: pictures are missing, or all of them are corrupt.
    """
    contents = listing.contents
    if isinstance(contents, Memory) or not len(contents) or (corrupt == "stop" and contents.known is not None):
        return listing
    seen = _look(contents, name, cache_dir, decoding=corrupt == "skip")
    found = listing
    if isinstance(contents, Files):
        found = replace(listing, contents=Files(contents.root, contents.paths, seen.known))
    if corrupt == "stop" or not (seen.readable == UNREADABLE).any():
        return found
    bad = np.flatnonzero(seen.readable == UNREADABLE)
    if len(bad) == len(found):
        msg = f"None of the {len(bad)} pictures of {name} can be decoded, for example {contents.place(0)}."
        raise DataError(msg)
    for row in map(int, bad[:5]):
        log.warning("left out: picture %r of %s (%s) cannot be decoded", listing.keys[row], name, contents.place(row))
    log.warning("%s: %d of %d pictures cannot be decoded and are left out", name, len(bad), len(found))
    return found.take(np.flatnonzero(seen.readable != UNREADABLE))


def missing(files: Files) -> list[Path]:
    """Those of the files that are not there."""
    stat = files.stamps()
    return [files.path(int(row)) for row in np.flatnonzero(stat[:, 0] < 0)]


def stamps_of_all(contents: Contents, name: str) -> npt.NDArray[np.int64]:
    """Size and time of change (N, 2) of each picture of the set `name`.

    Raises:
        DataError: pictures are missing; says how many, and one of them.
    """
    stat = contents.stamps()
    if (stat[:, 0] < 0).any():
        gone = np.flatnonzero(stat[:, 0] < 0)
        msg = (
            f"{len(gone)} of {len(contents)} pictures of {name} are missing, for example "
            f"{contents.place(int(gone[0]))}: put them back, or run negprompt data verify to see what else is."
        )
        raise DataError(msg)
    return stat


def _look(contents: Contents, name: str, cache_dir: Path | None, *, decoding: bool) -> _Seen:
    stat = stamps_of_all(contents, name)
    entry = None if cache_dir is None else cache_dir / "seen" / f"{contents.fingerprint()}.npz"
    seen = _remembered(entry, stat)
    wanting = seen.readable == UNKNOWN if decoding else ~seen.known.any(axis=1)
    rows = np.flatnonzero(wanting)
    if not len(rows):
        return seen

    def look(row: int) -> tuple[bytes, int]:
        try:
            encoded = contents.read(row)
        except AlteredError:
            return bytes(32), UNREADABLE
        return hashlib.sha256(encoded).digest(), _is_readable(encoded) if decoding else UNKNOWN

    text = f"{'checking' if decoding else 'hashing'} {name}"
    results = _mapped(look, rows, text, _DECODING if decoding else _WAITING)
    try:
        for row, (digest, readable) in zip(rows, results, strict=True):
            seen.known[row] = np.frombuffer(digest, np.uint8)
            seen.readable[row] = max(readable, seen.readable[row])
    finally:  # what was read so far is worth keeping, whatever ended it
        if entry is not None:
            write_arrays(entry, {"stat": stat, "known": seen.known, "readable": seen.readable})
    return seen


def _is_readable(encoded: bytes) -> int:
    try:
        decode(encoded, "", "")
    except DataError:
        return UNREADABLE
    return READABLE


def _remembered(entry: Path | None, stat: npt.NDArray[np.int64]) -> _Seen:
    """What was seen of the files that have not changed since; zeros for the others."""
    seen = _Seen(stat, np.zeros((len(stat), 32), np.uint8), np.zeros(len(stat), np.uint8))
    arrays = None if entry is None else read_arrays(entry)
    if arrays is not None and arrays.get("stat", _NOTHING).shape == stat.shape:
        same = (arrays["stat"] == stat).all(axis=1)
        seen.known[same] = arrays["known"][same]
        seen.readable[same] = arrays["readable"][same]
    return seen


def _mapped(
    function: Callable[[int], Result], rows: Sequence[int] | npt.NDArray[np.int64], text: str, threads: int
) -> Iterator[Result]:
    """Results in order, made by threads a little ahead; long work has a progress bar."""
    with ThreadPoolExecutor(threads) as pool:
        ahead = 64 * threads
        places = [int(row) for row in rows]
        chunks = (places[start : start + ahead] for start in range(0, len(places), ahead))
        results = (result for chunk in chunks for result in pool.map(function, chunk))
        yield from shown(results, text, len(places), _WORTH_A_BAR)
