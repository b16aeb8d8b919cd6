"""Anybody's webdataset shards: a picture and a label a sample, as webdataset itself reads them."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from negprompt.data.base import Declared
from negprompt.data.cache import read_arrays, write_arrays
from negprompt.data.classes import Classes, from_keys, readable, renamed
from negprompt.data.listed_ood import ListedOOD, chosen
from negprompt.data.listing import NO_CLASS, Listing
from negprompt.data.own import OwnID
from negprompt.data.own_csv import in_order
from negprompt.data.progress import shown
from negprompt.data.shards.fetch import ShardCache, is_remote, local_path
from negprompt.data.shards.members import Members, Shard, ShardMembers, Shards
from negprompt.data.shards.scan import Scan, scan
from negprompt.data.shards.specs import name_of, shards_of
from negprompt.data.stored import TEST, TRAIN
from negprompt.data.strings import Strings
from negprompt.errors import ConfigError

_THREADS = 8
_TRIES = 3


class WebDatasetID(OwnID):
    """ID pictures of webdataset shards.

    `train`, `test`: folder, file, glob or brace pattern, URL or `pipe:` command, several with `::` between them.
    `label`: ending of the member with the label (`cls`: a whole number; others: text), or `json.<field>`.
    `class_names`: .txt (one name a line, by label) or .csv (class,name); None for `class_name` in the samples' json,
    else the labels themselves.
    """

    train: Annotated[str | None, Field(exclude=True)] = None
    test: Annotated[str | None, Field(exclude=True)] = None
    label: str = "cls"
    class_names: Annotated[str | None, Field(exclude=True)] = None

    def check(self) -> None:
        """Refuse shards that are not there."""
        if self.shards is None:
            for part in (TRAIN, TEST):
                shards_of(self._spec(part), f"data.{part}")

    def all_classes(self) -> Classes:
        """Labels of all samples, sorted; whole numbers by their value."""
        if (shards := self.shard_folder) is not None:
            return renamed(shards.classes(), self.class_names)
        names: dict[str, str] = {}
        for part in (TRAIN, TEST):
            for _, one in self._scanned(part):
                for label, name in zip(one.labels, one.names, strict=True):
                    if not names.get(label):
                        names[label] = name
        keys = in_order(set(names))
        if self.class_names is not None:
            return from_keys(_with_gaps(keys, Path(self.class_names)), self.class_names)
        return Classes(tuple(keys), tuple(names[key] or readable(key) for key in keys))

    def list_train(self) -> Listing:
        """Samples of the training shards."""
        return self._listing(TRAIN)

    def list_test(self) -> Listing:
        """Samples of the test shards."""
        return self._listing(TEST)

    def _listing(self, part: str) -> Listing:
        return listing_of(self._scanned(part), self.cache, self.shard_cache_gb)

    def _scanned(self, part: str) -> list[tuple[Shard, Scan]]:
        return scanned(self._spec(part), f"data.{part}", self.label, self.cache, self.shard_cache_gb)

    def _spec(self, part: str) -> str:
        spec = self.train if part == TRAIN else self.test
        if spec is None:
            msg = f"data=webdataset needs data.{part}=<folder, pattern like part-{{000..146}}.tar, or URL>."
            raise ConfigError(msg)
        return spec


class WebDatasetOOD(Declared, ListedOOD):
    """OOD sets in webdataset shards.

    `shards_of`: folder, pattern, URL or `pipe:` command by the name of the set; `sets`: those to use, None for all.
    """

    shards_of: Annotated[dict[str, str] | None, Field(exclude=True)] = None
    sets: list[str] | None = None

    def check(self) -> None:
        """Refuse unknown sets and shards that are not there."""
        for name in self.set_names():
            if self.shards is None:
                shards_of((self.shards_of or {})[name], f"ood.shards_of.{name}")

    def hash_payload(self) -> dict[str, Any]:
        """All values that can change a result: of the shards, the names of the sets."""
        return {**super().hash_payload(), "sets": list(self.set_names())}

    def set_names(self) -> tuple[str, ...]:
        """Sets in the order in which they are named."""
        known = shards.ood_names() if (shards := self.shard_folder) is not None else tuple(self.shards_of or ())
        if not known:
            msg = "ood=webdataset needs ood.shards_of={<name of a set>: <folder, pattern or URL>}."
            raise ConfigError(msg)
        return chosen(self.sets, known)

    def list_set(self, name: str) -> Listing:
        """Samples of one set."""
        one = scanned((self.shards_of or {})[name], f"ood.shards_of.{name}", None, self.cache, self.shard_cache_gb)
        return listing_of(one, self.cache, self.shard_cache_gb)


def scanned(
    spec: str, setting: str, label: str | None, cache_dir: Path | None, cache_gb: float
) -> list[tuple[Shard, Scan]]:
    """What is in the shards of a setting: looked at once, then remembered.

    Args:
        spec: folder, pattern, URL or `pipe:` command.
        setting: its name, for messages.
        label: where the label is, None for pictures without classes.
        cache_dir: where to remember, and to keep copies of remote shards.
        cache_gb: most that these copies may have together.

    Raises:
        DataError: a shard is missing, cannot be fetched or is damaged, or a sample lacks its picture or label.
    """
    locations = shards_of(spec, setting)
    with ThreadPoolExecutor(_THREADS) as pool:
        try:
            scans = pool.map(lambda one: _scan(one, _stamp(one), label, cache_dir, cache_gb), locations)
            read = shown(scans, f"reading {setting}", len(locations), at_least=_THREADS)
            return [(_shard(location, one.bytes_), one) for location, one in zip(locations, read, strict=True)]
        finally:
            pool.shutdown(cancel_futures=True)


def listing_of(scans: Sequence[tuple[Shard, Scan]], cache_dir: Path | None, cache_gb: float) -> Listing:
    """All samples, shard by shard; keys are `<shard>/<sample>`."""
    labels = [label for _, one in scans for label in one.labels]
    classes = tuple(in_order({label for label in labels if label}))
    place = {key: number for number, key in enumerate(classes)}
    class_of = np.array([place.get(label, NO_CLASS) for label in labels], np.int32)
    contents = contents_of(scans, cache_dir, cache_gb)
    return Listing(contents.keys, classes, class_of, contents)


def contents_of(scans: Sequence[tuple[Shard, Scan]], cache_dir: Path | None, cache_gb: float) -> ShardMembers:
    """Pictures of all samples, shard by shard, under the keys `<shard>/<sample>`."""
    members = Members(
        np.repeat(np.arange(len(scans), dtype=np.int64), [len(one.keys) for _, one in scans]),
        np.concatenate([one.offset for _, one in scans]),
        np.concatenate([one.size for _, one in scans]),
    )
    keys = Strings.of(f"{shard.name.removesuffix('.tar')}/{key}" for shard, one in scans for key in one.keys)
    shards = tuple(shard for shard, _ in scans)
    remote = next((shard.location for shard in shards if shard.is_remote), None)
    cache = None if remote is None else ShardCache.of(cache_dir, cache_gb, remote)
    known = np.concatenate([one.sha256 for _, one in scans])
    return ShardMembers(Shards(shards, cache), members, keys, known)


def _shard(location: str, size: int | None) -> Shard:
    shelf = hashlib.sha256(location.encode()).hexdigest()[:16]
    return Shard(f"{name_of(location)}.tar", location, size, "", shelf)


def _stamp(location: str) -> tuple[int, int]:
    """Changes when a local file does; a remote one is taken to stay what it is."""
    if is_remote(location):
        return 0, 0
    status = local_path(location).stat()
    return status.st_size, status.st_mtime_ns


def _with_gaps(keys: Sequence[str], names_file: Path) -> Sequence[str]:
    """Labels 0, 1, ... up to the last name of a .txt: a line belongs to a number also where no sample has it."""
    if names_file.suffix.lower() != ".txt" or not names_file.is_file() or not all(key.isdecimal() for key in keys):
        return keys
    lines = [line for line in names_file.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    return [str(number) for number in range(max(len(lines), *(int(key) + 1 for key in keys)))]


@functools.lru_cache(1024)
def _scan(location: str, stamp: tuple[int, int], label: str | None, cache_dir: Path | None, cache_gb: float) -> Scan:
    request = repr((location if is_remote(location) else local_path(location).absolute(), stamp, label))
    entry = None
    if cache_dir is not None:
        entry = cache_dir / "shard_scans" / f"{hashlib.sha256(request.encode()).hexdigest()[:24]}.npz"
        if (arrays := read_arrays(entry)) is not None:
            return Scan.of(arrays)
    cache = ShardCache.of(cache_dir, cache_gb, location) if is_remote(location) else None
    one = _read(Shards((_shard(location, None),), cache), location, label)
    if entry is not None:
        write_arrays(entry, one.arrays())
    return one


def _read(shards: Shards, location: str, label: str | None) -> Scan:
    for _ in range(_TRIES - 1):
        try:
            return scan(shards.path(0), location, label)
        except FileNotFoundError:  # a copy that was removed for another shard since it was fetched
            continue
    return scan(shards.path(0), location, label)
