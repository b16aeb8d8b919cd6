"""A folder of prepared shards: an index that lists every picture, and tar files that are read picture by picture."""

from __future__ import annotations

import functools
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from negprompt.data.cache import read_arrays
from negprompt.data.classes import Classes
from negprompt.data.listing import Listing
from negprompt.data.shards.fetch import ShardCache, fetch_bytes, is_remote, local_path, url_of
from negprompt.data.shards.members import Members, Shard, ShardMembers, Shards
from negprompt.data.strings import Strings
from negprompt.errors import DataError, nearest

INDEX = "index.json"
SCHEMA = 1
AGAIN = "copy it again, or prepare the shards again (negprompt data prepare)"


class ShardFolder:
    """Prepared shards in a local or remote folder.

    Args:
        location: folder, base URL, or a `pipe:` command or URL with `{}` for a file's name.
        text: content of its index.
        cache: for local copies of a remote folder's files.

    Raises:
        DataError: the index is damaged, or of another version of the format.
    """

    def __init__(self, location: str, text: bytes, cache: ShardCache | None) -> None:
        self.location = location
        self.index = _index(text, self.url(INDEX))
        self._cache = cache
        self._shelf = hashlib.sha256(location.encode() + text).hexdigest()[:16]  # a new index has copies of its own

    @staticmethod
    def open(location: str, cache: Path | None, cache_gb: float) -> ShardFolder:
        """Read the index of a folder, once in a process.

        Args:
            location: folder, base URL, or a `pipe:` command or URL with `{}` for a file's name.
            cache: folder for local copies of remote files.
            cache_gb: most that they may have together.

        Raises:
            DataError: there is no index, it is damaged, or of another version of the format.
        """
        if is_remote(location):
            return _remote(location, ShardCache.of(cache, cache_gb, location))
        path = local_path(location) / INDEX
        try:
            changed = path.stat().st_mtime_ns
        except OSError as error:
            msg = (
                f"data.shards={location}: there is no {path.name} in it ({error.strerror}). Give the folder that "
                "negprompt data prepare wrote, run that command again if it did not finish, or set null to use files."
            )
            raise DataError(msg) from error
        return _local(location, changed)

    def url(self, name: str) -> str:
        """Path or URL of one of the files."""
        return url_of(self.location, name) if is_remote(self.location) else str(local_path(self.location) / name)

    def classes(self) -> Classes:
        """Classes in label order."""
        return Classes(tuple(self.index["class_keys"]), tuple(self.index["class_names"]))

    @property
    def draw(self) -> dict[str, int] | None:
        """`seed` and `num_shots` of the draw that the training pictures are, None where they are all."""
        found: dict[str, int] | None = self.index.get("draw")
        return found

    def set_names(self) -> tuple[str, ...]:
        """Names of the sets."""
        return tuple(self.index["sets"])

    def ood_names(self) -> tuple[str, ...]:
        """Names of the OOD sets."""
        return tuple(name.removeprefix("ood/") for name in self.set_names() if name.startswith("ood/"))

    def dropped(self, set_name: str) -> int:
        """Pictures of a set that its preparation left out, 0 for a set that is not there."""
        return int(self.index["sets"].get(set_name, {"dropped": 0})["dropped"])

    def dropped_by_class(self, set_name: str) -> Mapping[str, int]:
        """The same by class key; classes without such pictures are not named."""
        found: dict[str, int] = self.index["sets"].get(set_name, {}).get("dropped_by_class", {})
        return found

    def listing(self, set_name: str) -> Listing:
        """Pictures of one set, in the order that they had as files.

        Raises:
            DataError: the shards have no such set, or one of its files is missing or has another size.
        """
        if set_name not in self.index["sets"]:
            msg = f"The shards in {self.location} have no set {set_name!r}; {nearest(set_name, self.index['sets'])}."
            raise DataError(msg)
        entry = self.index["sets"][set_name]
        files = tuple(
            Shard(one["name"], self.url(one["name"]), one["bytes"], one["sha256"], self._shelf)
            for one in entry["shards"]
        )
        for shard in files:
            _check_size(shard)
        arrays = self._rows(entry)
        keys = Strings(arrays["keys"], arrays["key_ends"])
        members = Members(arrays["shard"], arrays["offset"], arrays["size"])
        contents = ShardMembers(Shards(files, self._cache), members, keys, arrays["sha256"])
        return Listing(keys, tuple(entry["classes"]), arrays["class_of"], contents)

    def _rows(self, entry: dict[str, Any]) -> dict[str, Any]:
        name, sha256 = entry["rows"], entry["rows_sha256"]
        if self._cache is None:
            path = local_path(self.location) / name
        else:
            path = self._cache.fetch(self.url(name), f"{self._shelf}/{name}", sha256=sha256)
        try:
            with path.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            msg = f"{path} cannot be read ({error.strerror}): {AGAIN}."
            raise DataError(msg) from error
        arrays = read_arrays(path) if found == sha256 else None
        if arrays is None:
            msg = f"{path} is damaged or belongs to another {INDEX}: {AGAIN}."
            raise DataError(msg)
        return arrays


@functools.cache
def _remote(location: str, cache: ShardCache) -> ShardFolder:
    return ShardFolder(location, fetch_bytes(url_of(location, INDEX)), cache)


@functools.lru_cache(8)
def _local(location: str, changed: int) -> ShardFolder:
    del changed  # an index that is written anew is read anew
    path = local_path(location) / INDEX
    try:
        text = path.read_bytes()
    except OSError as error:
        msg = f"{path} cannot be read ({error.strerror}): check its permissions."
        raise DataError(msg) from error
    return ShardFolder(location, text, None)


def _index(text: bytes, path: str) -> dict[str, Any]:
    try:
        index: dict[str, Any] = json.loads(text)
        schema = index["schema"]
        if schema == SCHEMA:
            _check_names(index)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        msg = f"{path} is damaged ({type(error).__name__}: {error}): {AGAIN}."
        raise DataError(msg) from error
    if schema != SCHEMA:
        msg = f"{path} has schema {schema!r} and this negprompt reads {SCHEMA}: prepare the shards again with it."
        raise DataError(msg)
    return index


def _check_names(index: dict[str, Any]) -> None:
    """Every field that is used later, and file names that stay in their folder."""
    Classes(tuple(index["class_keys"]), tuple(index["class_names"]))
    for entry in index["sets"].values():
        names = [entry["rows"], *(shard["name"] for shard in entry["shards"])]
        sizes = [entry["pictures"], entry["dropped"], *(shard["bytes"] for shard in entry["shards"])]
        sizes += entry.get("dropped_by_class", {}).values()
        hashes = [entry["rows_sha256"], *(shard["sha256"] for shard in entry["shards"])]
        if not all(isinstance(size, int) for size in sizes) or not all(isinstance(one, str) for one in hashes):
            msg = "a size or hash is missing"
            raise ValueError(msg)
        if strange := [name for name in names if os.path.basename(name) != name or name.startswith(".")]:  # noqa: PTH119
            msg = f"{strange[0]!r} is no file's name"
            raise ValueError(msg)
        tuple(map(str, entry["classes"]))


def _check_size(shard: Shard) -> None:
    if shard.is_remote:
        return
    path = local_path(shard.location)
    try:
        size = path.stat().st_size
    except OSError as error:
        msg = f"Shard {path} is missing ({error.strerror}): {AGAIN}."
        raise DataError(msg) from error
    if size != shard.size:
        msg = f"Shard {path} has {size} bytes and {INDEX} lists {shard.size}: {AGAIN}."
        raise DataError(msg)
