"""The few pictures of a draw from remote shards in one local file, without keeping whole shards."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from negprompt.data.contents import AlteredError, Rows
from negprompt.data.listing import Listing
from negprompt.data.looked import Corrupt
from negprompt.data.progress import shown
from negprompt.data.shards.archive import TransferError, chunks
from negprompt.data.shards.fetch import ShardCache, part_of, tried, used
from negprompt.data.shards.members import Members, Shard, ShardMembers, Shards
from negprompt.errors import DataError

log = logging.getLogger(__name__)

_STREAMS = 4


class Excerpt(ShardMembers):
    """Members of remote shards, in one local file; `origin` has them where they came from."""

    def __init__(self, path: Path, members: Members, origin: ShardMembers) -> None:
        super().__init__(Shards((Shard(path.name, str(path)),)), members, origin.keys, origin.known)
        self._path = path
        self._origin = origin

    def read(self, row: int) -> bytes:
        """Read one member; from its shard, where the file was removed to make room for others."""
        try:
            return super().read(row)
        except AlteredError:
            raise
        except DataError:
            if self._path.exists():
                raise
            return self._origin.read(row)

    def take(self, rows: Rows) -> Excerpt:
        """Some of the members."""
        return Excerpt(self._path, self.members.take(rows), self._origin.take(rows))

    def place(self, row: int) -> str:
        """Shard and key where the picture came from."""
        return self._origin.place(row)


def excerpt(listing: Listing, corrupt: Corrupt = "stop") -> Listing:
    """The same pictures in a local file, where they are members of shards that would have to be fetched.

    Each shard is streamed once and not kept. The file is named by the pictures' hashes, made by one process while
    others wait, and of an interrupted call what came is kept.

    Args:
        listing: pictures; what is not in remote shards is returned as it is.
        corrupt: what a picture does that is not the one its index lists: stop, or be left out with a warning.

    Raises:
        DataError: a shard cannot be fetched, or a picture is not the one that the index lists.
    """
    members = listing.contents
    if not isinstance(members, ShardMembers) or members.shards.cache is None or _all_here(members):
        return listing
    cache = members.shards.cache
    path = cache.folder / "excerpts" / hashlib.sha256(members.known.tobytes()).hexdigest()[:24]
    places = Members(np.zeros(len(members), np.int64), _starts(members.members.size), members.members.size)
    if used(path):
        return replace(listing, contents=Excerpt(path, places, members))
    with cache.lock(path):
        if not used(path):
            lacking = _collect(cache, path, members, places)
            if len(lacking):
                return _without(listing, Excerpt(part_of(path), places, members), lacking, corrupt)
            part_of(path).replace(path)
    return replace(listing, contents=Excerpt(path, places, members))


def _all_here(members: ShardMembers) -> bool:
    return all(members.shards.is_here(int(number)) for number in np.unique(members.members.shard))


def _starts(sizes: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    return np.cumsum(sizes) - sizes


def _without(listing: Listing, found: Excerpt, lacking: Sequence[int], corrupt: Corrupt) -> Listing:
    """The pictures that are as listed."""
    first = f"picture {listing.keys[lacking[0]]!r} ({found.place(lacking[0])})"
    if corrupt == "stop":
        msg = (
            f"{len(lacking)} of {len(listing)} pictures are not what the index of their shards lists, for example "
            f"{first}: copy that shard there again, or set data.corrupt=skip to leave them out."
        )
        raise AlteredError(msg)
    log.warning("left out: %d of %d pictures, not as listed, for example %s", len(lacking), len(listing), first)
    kept = np.setdiff1d(np.arange(len(listing)), lacking)
    return replace(listing, contents=found).take(kept)


def _collect(cache: ShardCache, path: Path, members: ShardMembers, places: Members) -> list[int]:
    """Fill the file; returns the rows whose bytes are not as listed."""
    goes_on = part_of(path).is_file()
    with cache.writing(path, int(places.size.sum())) as file:
        rows = np.arange(len(members))
        if goes_on:
            rows = np.array([row for row in rows if not _is_there(file, members, places, int(row))], np.int64)
        shards = members.members.shard[rows]
        groups = [(int(number), rows[shards == number].tolist()) for number in np.unique(shards)]
        collector = _Collector(members, places, file.fileno())
        with ThreadPoolExecutor(_STREAMS) as pool:
            try:
                results = pool.map(collector.collect, *zip(*groups, strict=True)) if groups else iter(())
                fetched = shown(results, "fetching pictures", len(groups), at_least=5)
                return sorted(row for lacking in fetched for row in lacking)
            finally:
                pool.shutdown(cancel_futures=True)


def _is_there(file: BinaryIO, members: ShardMembers, places: Members, row: int) -> bool:
    return members.is_listed(os.pread(file.fileno(), int(places.size[row]), int(places.offset[row])), row)


class _UnlistedError(TransferError):
    """What came is not what the index lists."""


class _Collector:
    """Puts members of shards at their places in a file."""

    def __init__(self, members: ShardMembers, places: Members, descriptor: int) -> None:
        self._members = members
        self._places = places
        self._descriptor = descriptor

    def collect(self, number: int, rows: list[int]) -> list[int]:
        """Members of one shard; returns the rows whose bytes are not as listed."""
        left = sorted(rows, key=lambda row: int(self._members.members.offset[row]))

        def once() -> None:
            nonlocal left
            left = [
                row for row, found in zip(left, self._stream(number, left), strict=True) if not self._put(row, found)
            ]
            if left:
                msg = f"{self._members.place(left[0])} is not what the index lists."
                raise _UnlistedError(msg)

        with contextlib.suppress(_UnlistedError):
            tried(once)
        return left

    def _put(self, row: int, found: bytes) -> bool:
        if not self._members.is_listed(found, row):
            return False
        os.pwrite(self._descriptor, found, int(self._places.offset[row]))
        return True

    def _stream(self, number: int, rows: Sequence[int]) -> Iterator[bytes]:
        spans = [(int(self._members.members.offset[row]), int(self._members.members.size[row])) for row in rows]
        shards = self._members.shards
        if shards.is_here(number):
            yield from (shards.read(number, offset, size) for offset, size in spans)
            return
        with contextlib.closing(chunks(shards.files[number].location)) as stream:
            yield from cut(stream, spans)


def cut(stream: Iterator[bytes], spans: Sequence[tuple[int, int]]) -> Iterator[bytes]:
    """Parts of a stream that is read once.

    Args:
        stream: pieces of any length.
        spans: offset and size of the parts, in the order of their offsets; what lies behind the end is empty.

    Example:
        >>> list(cut(iter([b"abc", b"defg", b"hi"]), [(1, 1), (2, 4), (8, 1)]))
        [b'b', b'cdef', b'i']
    """
    held, start = b"", 0
    for offset, size in spans:
        while start + len(held) < offset + size and (piece := next(stream, b"")):
            behind = min(max(offset - start, 0), len(held))
            held, start = held[behind:] + piece, start + behind
        yield held[max(offset - start, 0) : max(offset - start, 0) + size]
