"""Pictures inside of tar shards, each read by itself and checked against its listed hash."""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from negprompt.data.contents import AlteredError, Contents, Digests, Rows, unreadable
from negprompt.data.shards.fetch import ShardCache, is_remote, local_path
from negprompt.data.strings import Strings

_OPEN_FILES = 32
_TRIES = 3


class Members(NamedTuple):
    """Where each picture of a set lies: shard number, byte offset and size in it, all (N,) int64."""

    shard: npt.NDArray[np.int64]
    offset: npt.NDArray[np.int64]
    size: npt.NDArray[np.int64]

    def take(self, rows: Rows) -> Members:
        """Those of some rows."""
        return Members(*(column[np.asarray(rows, np.int64)] for column in self))


class Shard(NamedTuple):
    """One tar file: name, path or URL, size (None) and hash (empty) where they are known, folder of its local copy."""

    name: str
    location: str
    size: int | None = None
    sha256: str = ""
    shelf: str = ""

    @property
    def is_remote(self) -> bool:
        """Whether it must be fetched."""
        return is_remote(self.location)


@dataclass(frozen=True)
class Shards:
    """The shards of a set; `cache` holds local copies of remote ones."""

    files: tuple[Shard, ...]
    cache: ShardCache | None = None

    def path(self, number: int) -> Path:
        """A shard as a file of this machine, fetched where it is remote."""
        shard = self.files[number]
        if self.cache is None or not shard.is_remote:
            return local_path(shard.location)
        return self.cache.fetch(shard.location, f"{shard.shelf}/{shard.name}", shard.size, shard.sha256)

    def is_here(self, number: int) -> bool:
        """Whether a shard can be read without fetching it."""
        shard = self.files[number]
        return self.cache is None or not shard.is_remote or (self.cache.folder / shard.shelf / shard.name).is_file()

    def read(self, number: int, offset: int, size: int) -> bytes:
        """Bytes of a shard, fewer where it ends early.

        Raises:
            DataError: it is missing, or cannot be read or fetched.
        """
        remote = self.cache is not None and self.files[number].is_remote
        for left in reversed(range(_TRIES)):
            path = self.path(number)
            try:
                # A copy in the cache may be removed at any time: kept open, it would still fill the disk.
                file = _Open(path) if remote else _opened(path)
                return _read_at(file.descriptor, offset, size)
            except FileNotFoundError as error:
                if remote and left:  # removed for another shard since it was fetched
                    continue
                raise unreadable(path, error) from error
            except OSError as error:
                raise unreadable(path, error) from error
        raise AssertionError


class ShardMembers(Contents):
    """Pictures inside of shards.

    Args:
        shards: files that hold them.
        members: where each picture lies.
        keys: names of the pictures.
        known: content hashes (N, 32).
    """

    known: Digests

    def __init__(self, shards: Shards, members: Members, keys: Sequence[str], known: Digests) -> None:
        self.shards = shards
        self.members = members
        self.keys = keys
        self.known = known

    def __len__(self) -> int:
        """Number of pictures."""
        return len(self.members.size)

    def read(self, row: int) -> bytes:
        """Read one member.

        Raises:
            DataError: its shard is missing or cannot be read or fetched.
            AlteredError: these are not the bytes that the index lists.
        """
        number, offset, size = (int(column[row]) for column in self.members)
        found = self.shards.read(number, offset, size)
        if self.is_listed(found, row):
            return found
        _opened.cache_clear()  # the shard may have been exchanged for another file since it was opened
        found = self.shards.read(number, offset, size)
        if self.is_listed(found, row):
            return found
        wrong = f"ends after {len(found)} of its {size} bytes" if len(found) < size else "is not what the index lists"
        msg = f"Picture {self.keys[row]!r} in {self._where(row)} {wrong}: copy that shard again, or prepare it again."
        raise AlteredError(msg)

    def take(self, rows: Rows) -> ShardMembers:
        """Some of the members."""
        keys = Strings.of(self.keys[int(row)] for row in rows)
        return ShardMembers(self.shards, self.members.take(rows), keys, self.known[np.asarray(rows, np.int64)])

    def place(self, row: int) -> str:
        """Shard and key."""
        return f"{self._where(row)}, key {self.keys[row]}"

    def stamps(self) -> npt.NDArray[np.int64]:
        """Size of each picture and time of change of its shard; 0 for a remote one, which is checked when fetched."""
        changed = np.array([_changed(shard) for shard in self.shards.files], np.int64)[self.members.shard]
        return np.stack([np.where(changed < 0, -1, self.members.size), changed], axis=1)

    def fingerprint(self) -> str:
        """Hash of shards, offsets and listed contents."""
        digest = hashlib.sha256("\n".join(shard.location for shard in self.shards.files).encode())
        for column in (*self.members, self.known):
            digest.update(np.ascontiguousarray(column).tobytes())
        return digest.hexdigest()[:24]

    def _where(self, row: int) -> str:
        return f"shard {self.shards.files[int(self.members.shard[row])].location}"

    def is_listed(self, found: bytes, row: int) -> bool:
        """Whether these are the bytes of a picture."""
        listed: bytes = self.known[row].tobytes()
        return hashlib.sha256(found).digest() == listed


class _Open:
    """A file descriptor that is closed with its last user."""

    def __init__(self, path: Path) -> None:
        self.descriptor = -1
        self.descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def __del__(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)


@functools.lru_cache(_OPEN_FILES)
def _opened(path: Path) -> _Open:
    """The files that a process reads from; inherited by a loader's workers, since reading moves no position."""
    return _Open(path)


def _read_at(descriptor: int, offset: int, size: int) -> bytes:
    found = os.pread(descriptor, size, offset)
    while len(found) < size and (more := os.pread(descriptor, size - len(found), offset + len(found))):
        found += more
    return found


def _changed(shard: Shard) -> int:
    if shard.is_remote:
        return 0
    try:
        return local_path(shard.location).stat().st_mtime_ns
    except OSError:
        return -1
