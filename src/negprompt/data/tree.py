"""The pictures below a folder: found once, remembered, and found again only where a folder has changed since."""

from __future__ import annotations

import hashlib
import logging
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from negprompt.data.cache import read_arrays, write_arrays
from negprompt.data.strings import Strings
from negprompt.errors import DataError

log = logging.getLogger(__name__)

PICTURES = frozenset((".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"))
_SCHEMA = 1
_CHUNK = 1 << 16
_THREADS = 16  # a folder on a network file system answers in milliseconds: they are asked side by side
_Identity = tuple[int, int]  # device and inode: the same by whatever path a folder is reached
_SETTLED = 2_000_000_000  # ns: a folder changed less than this before it was listed could change again unseen


@dataclass(frozen=True)
class Tree:
    """Pictures below a folder, sorted by folder and name.

    `folders` relative paths, "" for the root; `names` of the files; `folder_of` (N,) int32; `strangers` number of
    files that are no pictures; hidden files and folders are not looked at.
    """

    root: Path
    folders: Strings
    names: Strings
    folder_of: npt.NDArray[np.int32]
    strangers: int
    changed: npt.NDArray[np.int64] = field(repr=False)

    @property
    def paths(self) -> Paths:
        """Path of each picture, relative to the root."""
        return Paths(list(self.folders), self.names, self.folder_of)

    def counts(self) -> dict[str, int]:
        """Number of pictures directly in each folder."""
        found = np.bincount(self.folder_of, minlength=len(self.folders))
        return dict(zip(self.folders, map(int, found), strict=True))


class Paths(Sequence[str]):
    """`folder/name` of each picture of a tree, put together when asked for."""

    def __init__(self, folders: list[str], names: Strings, folder_of: npt.NDArray[np.int32]) -> None:
        self._prefixes = [f"{folder}/" if folder else "" for folder in folders]
        self._names = names
        self._folder_of = folder_of

    def __len__(self) -> int:
        """Number of pictures."""
        return len(self._names)

    def empty_folders(self) -> list[str]:
        """Folders with no picture in or below them, of nested ones the topmost."""
        full = {self._prefixes[int(place)].rstrip("/") for place in np.unique(self._folder_of)}
        full |= {str(above) for folder in full for above in PurePosixPath(folder).parents}
        empty = [prefix.rstrip("/") for prefix in self._prefixes if prefix.rstrip("/") not in full | {""}]
        return [folder for folder in empty if str(PurePosixPath(folder).parent) in full | {"."}]

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> list[str]: ...
    def __getitem__(self, place: int | slice) -> str | list[str]:
        """One path, or those of a slice."""
        if isinstance(place, slice):
            pairs = zip(self._folder_of[place].tolist(), self._names[place], strict=True)
            return [self._prefixes[folder] + name for folder, name in pairs]
        return self._prefixes[int(self._folder_of[place])] + self._names[place]

    def __iter__(self) -> Iterator[str]:
        """All paths."""
        for start in range(0, len(self), _CHUNK):
            yield from self[start : start + _CHUNK]


def list_tree(root: Path, cache_dir: Path | None = None) -> Tree:
    """Find all pictures below a folder.

    Args:
        root: the folder; links are followed.
        cache_dir: where listings are remembered, None to look at everything.

    Raises:
        DataError: there is no such folder, or one below it cannot be read.
    """
    if not root.is_dir():
        msg = f"There is no folder {root}."
        raise DataError(msg)
    entry = None if cache_dir is None else cache_dir / "listings" / f"{_key(root)}.npz"
    if entry is not None and (cached := _cached(root, entry)) is not None:
        return cached
    log.info("listing pictures in %s ...", root)
    tree = _walk(root)
    if entry is not None:
        write_arrays(entry, _arrays(tree))
    return tree


def _key(root: Path) -> str:
    return hashlib.sha256(os.fsencode(root.absolute())).hexdigest()[:16]


def _walk(root: Path) -> Tree:
    """List every folder, each level of them side by side."""
    started = time.time_ns()
    found: dict[str, tuple[int, list[str]]] = {}
    strangers = 0
    level: list[tuple[str, frozenset[_Identity]]] = [("", frozenset())]
    with ThreadPoolExecutor(_THREADS) as pool:
        while level:
            below: list[tuple[str, frozenset[_Identity]]] = []
            for (folder, above), one in zip(level, pool.map(lambda place: _folder(root, place[0]), level), strict=True):
                if one.identity in above:  # a link to a folder above would never end
                    continue
                found[folder] = (one.changed if one.changed < started - _SETTLED else -1, one.pictures)
                strangers += one.strangers
                inside = above | {one.identity}
                below += [(f"{folder}/{name}" if folder else name, inside) for name in one.folders]
            level = below
    folders = sorted(found)
    names = Strings.of(name for folder in folders for name in found[folder][1])
    lengths = [len(found[folder][1]) for folder in folders]
    folder_of = np.repeat(np.arange(len(folders), dtype=np.int32), lengths)
    changed = np.array([found[folder][0] for folder in folders], np.int64)
    return Tree(root, Strings.of(folders), names, folder_of, strangers, changed)


@dataclass(frozen=True)
class _Folder:
    identity: _Identity
    changed: int
    folders: list[str]
    pictures: list[str]
    strangers: int


def _folder(root: Path, name: str) -> _Folder:
    path = root / name
    folders: list[str] = []
    pictures: list[str] = []
    strangers = 0
    try:
        status = path.stat()
        with os.scandir(path) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir():
                    folders.append(entry.name)
                elif os.path.splitext(entry.name)[1].lower() in PICTURES:  # noqa: PTH122 -- a million times
                    pictures.append(entry.name)
                else:
                    strangers += 1
    except OSError as error:
        msg = f"Folder {path} cannot be read ({error.strerror}): check its permissions."
        raise DataError(msg) from error
    return _Folder((status.st_dev, status.st_ino), status.st_mtime_ns, sorted(folders), sorted(pictures), strangers)


def _cached(root: Path, entry: Path) -> Tree | None:
    arrays = read_arrays(entry)
    if arrays is None or int(arrays.get("schema", 0)) != _SCHEMA:
        return None
    folders = Strings(arrays["folders"], arrays["folder_ends"])
    with ThreadPoolExecutor(_THREADS) as pool:
        now = list(pool.map(lambda name: _changed(root / name), folders))
    if now != arrays["changed"].tolist():
        return None
    names = Strings(arrays["names"], arrays["name_ends"])
    return Tree(root, folders, names, arrays["folder_of"], int(arrays["strangers"]), arrays["changed"])


def _changed(folder: Path) -> int:
    try:
        return folder.stat().st_mtime_ns
    except OSError:
        return -2


def _arrays(tree: Tree) -> dict[str, Any]:
    return {
        "schema": np.array(_SCHEMA),
        "folders": tree.folders.blob,
        "folder_ends": tree.folders.ends,
        "names": tree.names.blob,
        "name_ends": tree.names.ends,
        "folder_of": tree.folder_of,
        "strangers": np.array(tree.strangers),
        "changed": tree.changed,
    }
