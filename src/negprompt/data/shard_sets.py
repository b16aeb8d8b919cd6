"""Prepared shards: an index that lists every picture, and tar files that are read picture by picture."""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from negprompt.data.cache import read_arrays
from negprompt.data.classes import Classes
from negprompt.data.contents import Contents, Digests, Rows, unreadable
from negprompt.data.listing import Listing
from negprompt.data.strings import Strings
from negprompt.errors import DataError, nearest

INDEX = "index.json"
SCHEMA = 1


class Members(NamedTuple):
    """Where each picture of a set lies: shard number, byte offset and size in it, all (N,) int64."""

    shard: npt.NDArray[np.int64]
    offset: npt.NDArray[np.int64]
    size: npt.NDArray[np.int64]


class ShardMembers(Contents):
    """Pictures inside of shards.

    Args:
        folder: that holds the shards.
        shards: names of the shards' files.
        members: where each picture lies.
        known: content hashes (N, 32).
    """

    def __init__(self, folder: ShardFolder, shards: Sequence[str], members: Members, known: Digests) -> None:
        self._folder = folder
        self._shards = shards
        self._members = members
        self.known = known

    def __len__(self) -> int:
        """Number of pictures."""
        return len(self._members.size)

    def read(self, row: int) -> bytes:
        """Read one member."""
        path = self._folder.path(self._shards[self._members.shard[row]])
        size = int(self._members.size[row])
        try:
            with path.open("rb") as file:
                file.seek(int(self._members.offset[row]))
                found = file.read(size)
        except OSError as error:
            raise unreadable(path, error) from error
        if len(found) < size:
            msg = f"Shard {path} ends early: copy it again."
            raise DataError(msg)
        return found

    def take(self, rows: Rows) -> ShardMembers:
        """Some of the members."""
        places = np.asarray(rows, np.int64)
        members = Members(*(column[places] for column in self._members))
        return ShardMembers(self._folder, self._shards, members, np.asarray(self.known)[places])

    def place(self, row: int) -> str:
        """Shard and offset."""
        return f"shard {self._shards[self._members.shard[row]]} at byte {self._members.offset[row]}"


class ShardFolder:
    """A folder of prepared shards with its index."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.index: dict[str, Any] = json.loads((root / INDEX).read_text(encoding="utf-8"))

    @staticmethod
    @functools.cache
    def open(location: str, cache: Path | None, cache_gb: float) -> ShardFolder:
        """Open a folder once in a process."""
        del cache, cache_gb
        return ShardFolder(Path(location))

    def path(self, shard: str) -> Path:
        """A shard as a file of this machine."""
        return self.root / shard

    def classes(self) -> Classes:
        """Classes in label order."""
        return Classes(tuple(self.index["class_keys"]), tuple(self.index["class_names"]))

    def set_names(self) -> tuple[str, ...]:
        """Names of all sets."""
        return tuple(self.index["sets"])

    def listing(self, set_name: str) -> Listing:
        """Pictures of one set, in the order that they had as files.

        Raises:
            DataError: the shards have no such set.
        """
        if set_name not in self.index["sets"]:
            msg = f"The shards in {self.root} have no set {set_name!r}; {nearest(set_name, self.index['sets'])}."
            raise DataError(msg)
        entry = self.index["sets"][set_name]
        arrays = read_arrays(self.root / entry["rows"])
        if arrays is None:
            msg = f"{self.root / entry['rows']} is missing or damaged: copy it again, or prepare the shards again."
            raise DataError(msg)
        members = Members(arrays["shard"], arrays["offset"], arrays["size"])
        contents = ShardMembers(self, [shard["name"] for shard in entry["shards"]], members, arrays["sha256"])
        keys = Strings(arrays["keys"], arrays["key_ends"])
        return Listing(keys, tuple(entry["classes"]), arrays["class_of"], contents)
