"""Encoded pictures that are read when asked for: from memory, from files, from shards."""

from __future__ import annotations

import abc
import errno
import functools
import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from negprompt.data.strings import Strings
from negprompt.errors import DataError

Digests = npt.NDArray[np.uint8]
"""SHA-256 of each picture, (N, 32) uint8."""

Rows = Sequence[int] | npt.NDArray[np.int64]

_PART = 512
_WAITING = 16  # threads that ask a disk, which on a network answers in milliseconds


class AlteredError(DataError):
    """A picture's bytes are not those that its index lists."""


class Contents(Sequence[bytes]):
    """The pictures of one set, by row.

    `known` are content hashes (N, 32) where somebody computed them before, None where nobody did.
    """

    known: Digests | None = None

    @overload
    def __getitem__(self, row: int) -> bytes: ...
    @overload
    def __getitem__(self, row: slice) -> list[bytes]: ...
    def __getitem__(self, row: int | slice) -> bytes | list[bytes]:
        """Bytes of one picture."""
        if isinstance(row, slice):
            return [self.read(place) for place in range(*row.indices(len(self)))]
        return self.read(row)

    @abc.abstractmethod
    def read(self, row: int) -> bytes:
        """Bytes of one picture.

        Raises:
            DataError: it is not there or cannot be read; names the place and the fix.
        """

    @abc.abstractmethod
    def take(self, rows: Rows) -> Contents:
        """The pictures of some rows, in that order."""

    @abc.abstractmethod
    def place(self, row: int) -> str:
        """Where a picture lies, for messages."""

    @abc.abstractmethod
    def stamps(self) -> npt.NDArray[np.int64]:
        """Size and time of change (N, 2) of each picture, -1 where it is missing; nothing is read."""

    @abc.abstractmethod
    def fingerprint(self) -> str:
        """Hash of where the pictures lie: names what is remembered of them."""


class Memory(Contents):
    """Pictures in memory; `origin` says where they came from."""

    def __init__(self, encoded: Sequence[bytes], origin: str) -> None:
        self._encoded = encoded
        self._origin = origin

    def __len__(self) -> int:
        """Number of pictures."""
        return len(self._encoded)

    def read(self, row: int) -> bytes:
        """One picture."""
        return self._encoded[row]

    def take(self, rows: Rows) -> Memory:
        """Some of the pictures."""
        return Memory([self._encoded[int(row)] for row in rows], self._origin)

    def place(self, row: int) -> str:
        """Origin and row."""
        return f"{self._origin}, number {row}"

    def stamps(self) -> npt.NDArray[np.int64]:
        """Sizes, which never change."""
        return np.array([(len(one), 0) for one in self._encoded], np.int64).reshape(-1, 2)

    def fingerprint(self) -> str:
        """Hash of the pictures themselves."""
        return hashlib.sha256(self._origin.encode() + digests(self).tobytes()).hexdigest()[:24]


class Files(Contents):
    """Pictures in files of their own.

    Args:
        root: folder that the paths are relative to.
        paths: of each picture.
        known: content hashes (N, 32), where they are known.
    """

    def __init__(self, root: Path, paths: Sequence[str], known: Digests | None = None) -> None:
        self.root = root
        self.paths = paths
        self.known = known

    def __len__(self) -> int:
        """Number of pictures."""
        return len(self.paths)

    def read(self, row: int) -> bytes:
        """Read one file."""
        path = self.path(row)
        try:
            return path.read_bytes()
        except OSError as error:
            raise unreadable(path, error) from error

    def take(self, rows: Rows) -> Files:
        """Some of the files."""
        paths = Strings.of(self.paths[int(row)] for row in rows)
        return Files(self.root, paths, None if self.known is None else self.known[np.asarray(rows, np.int64)])

    def path(self, row: int) -> Path:
        """Path of a picture."""
        return self.root / self.paths[row]

    def place(self, row: int) -> str:
        """The path."""
        return str(self.path(row))

    def stamps(self) -> npt.NDArray[np.int64]:
        """Size and time of change of each file."""
        parts = [self.paths[start : start + _PART] for start in range(0, len(self), _PART)]
        with ThreadPoolExecutor(_WAITING) as pool:  # parts, since a task of its own costs more than asking for a file
            found = list(pool.map(functools.partial(_stamps, os.fspath(self.root)), parts))
        return np.concatenate(found) if found else np.zeros((0, 2), np.int64)

    def fingerprint(self) -> str:
        """Hash of the folder and the paths."""
        digest = hashlib.sha256(os.fsencode(self.root.absolute()))
        for path in self.paths:
            digest.update(b"\n" + path.encode("utf-8", "surrogateescape"))
        return digest.hexdigest()[:24]


def _stamps(folder: str, paths: Sequence[str]) -> npt.NDArray[np.int64]:
    found = np.full((len(paths), 2), -1, np.int64)
    for row, path in enumerate(paths):
        try:
            status = os.stat(os.path.join(folder, path))  # noqa: PTH116, PTH118 -- a hundred thousand times
        except OSError:
            continue
        found[row] = status.st_size, status.st_mtime_ns
    return found


def unreadable(path: Path, error: OSError) -> DataError:
    """What to say of a picture that cannot be read."""
    if error.errno == errno.ENOENT:
        return DataError(f"Picture {path} is missing: put it back, or run negprompt data verify to see what else is.")
    return DataError(f"Picture {path} cannot be read ({error.strerror}): check the disk and the file's permissions.")


def digests(encoded: Sequence[bytes]) -> Digests:
    """SHA-256 of each picture (N, 32): those known before, else of the bytes."""
    known: Any = getattr(encoded, "known", None)
    if known is not None:
        return np.asarray(known, np.uint8)
    found = b"".join(hashlib.sha256(one).digest() for one in encoded)
    return np.frombuffer(found, np.uint8).reshape(-1, 32)
