"""The embedded benchmark `icons`: drawings of one noun by many designers, shipped as webdataset shards."""

from __future__ import annotations

import functools
import json
from collections.abc import Collection, Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from negprompt.data.base import IDPictures, IDSets, OODSets, Source, num_train_classes
from negprompt.data.few_shot import k_shot_indices
from negprompt.data.listing import Listing, in_memory
from negprompt.data.shards.archive import ShardSample, read_shard
from negprompt.errors import ConfigError, DataError, nearest
from negprompt.types import OOD_LABEL, ImageSet

HardSplit = Literal[1, 2, 3, 4]
OOD_SETS = ("near", "symbols", "logos", "flags")


class IconsID(IDSets):
    """ID classes of `icons`, or of one of its hard splits.

    `part`: `test`, or `val` for the pictures that settings may be chosen on. `class_names`: keep only these ID
    classes, in label order. `root`: folder with the shards, None for those in the package.
    """

    part: Literal["test", "val"] = "test"
    hard_split: HardSplit | None = None
    class_names: list[str] | None = None
    root: Annotated[str | None, Field(exclude=True)] = None

    @property
    def is_validation(self) -> bool:
        """Whether `part` is val."""
        return self.part == "val"

    def check(self) -> None:
        """Refuse a folder without shards and unknown class names."""
        self._names(_Shards.open(self.root))

    def load(self, seed: int) -> IDPictures:
        """Draw `num_shots` pictures of the training classes and list all pictures of the tested part."""
        shards = _Shards.open(self.root)
        names = self._names(shards)
        train_names = names[: num_train_classes(len(names), self.class_fraction)]
        pool = shards.images("id_train.tar", train_names, f"{self.name}/train")
        drawn = k_shot_indices(pool.keys, pool.labels, self.num_shots, seed, train_names)
        test = shards.images(f"id_{self.part}.tar", names, f"{self.name}/{self.part}")
        _refuse_empty_classes(test, names)
        return IDPictures(names, len(train_names), _take(pool, drawn), test)

    def held_out(self, seed: int) -> ImageSet | None:
        """The validation pictures, where others are tested."""
        del seed
        shards, shard = _Shards.open(self.root), "id_val.tar"
        if self.part == "val" or shard not in shards.index["shards"]:
            return None
        return shards.images(shard, self._names(shards), f"{self.name}/val")

    def names(self) -> tuple[str, ...]:
        """Those of the benchmark that are used."""
        return self._names(_Shards.open(self.root))

    def sources(self) -> list[Source]:
        """All training pictures and the tested part."""
        names = self._names(_Shards.open(self.root))
        sides: tuple[tuple[str, Literal["train", "test"], int], ...] = (
            ("id_train.tar", "train", self.num_shots),
            (f"id_{self.part}.tar", "test", 1),
        )
        return [
            Source(side, side, functools.partial(_listing, self.root, shard, names), names, at_least=at_least)
            for shard, side, at_least in sides
        ]

    def _names(self, shards: _Shards) -> tuple[str, ...]:
        split = None if self.hard_split is None else shards.hard_split(self.hard_split)
        known: list[str] = shards.index["class_names"] if split is None else split["id"]
        if self.class_names is None:
            return tuple(known)
        if not self.class_names:
            msg = "data.class_names=[] leaves no class: name at least one, or leave it null for all."
            raise ConfigError(msg)
        for name in self.class_names:
            if name not in known:
                msg = f"data.class_names: unknown class {name!r}; {nearest(name, known)}."
                raise ConfigError(msg)
        return tuple(name for name in known if name in self.class_names)


class IconsOOD(OODSets):
    """OOD sets of `icons`: `near` (other nouns), `symbols`, `logos`, `flags`, or the OOD side of a hard split."""

    sets: list[str] = Field(default_factory=lambda: list(OOD_SETS))
    part: Literal["test", "val"] = "test"
    hard_split: HardSplit | None = None
    root: Annotated[str | None, Field(exclude=True)] = None

    @property
    def is_validation(self) -> bool:
        """Whether `part` is val."""
        return self.part == "val"

    def check(self) -> None:
        """Refuse a folder without shards, and unknown or no OOD sets."""
        _Shards.open(self.root)
        if self.hard_split is None:
            self._refuse_unknown_sets()

    def load(self) -> dict[str, ImageSet]:
        """Read the shards of each set."""
        shards = _Shards.open(self.root)
        if self.hard_split is not None:
            return {self.name: self._hard(shards, shards.hard_split(self.hard_split)["ood"])}
        self._refuse_unknown_sets()
        return {name: shards.images(f"{name}_{self.part}.tar", None, name) for name in self.sets}

    def _refuse_unknown_sets(self) -> None:
        if not self.sets:
            msg = f"ood.sets=[] leaves no OOD set; allowed: {', '.join(OOD_SETS)}."
            raise ConfigError(msg)
        for name in self.sets:
            if name not in OOD_SETS:
                msg = f"ood.sets: unknown OOD set {name!r}; {nearest(name, OOD_SETS)}."
                raise ConfigError(msg)

    def _hard(self, shards: _Shards, names: Collection[str]) -> ImageSet:
        samples = [*shards.samples(f"id_{self.part}.tar"), *shards.samples(f"near_{self.part}.tar")]
        chosen = [sample for sample in samples if sample.fields["name"] in names]
        if not chosen:
            msg = f"ood.hard_split={self.hard_split} has no OOD picture in ood.part={self.part}: set ood.part=test."
            raise DataError(msg)
        return _image_set(self.name, chosen, None)


class _Shards:
    """The shards of one folder and their index."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        index = folder / "benchmark.json"
        if not index.is_file():
            msg = f"No benchmark.json in {folder}: data.root must be a folder with the icons shards, or null."
            raise DataError(msg)
        try:
            self.index: dict[str, Any] = json.loads(index.read_text())
        except ValueError as error:
            msg = f"{index} is damaged ({error}): install the package again, or build the shards again."
            raise DataError(msg) from error

    @staticmethod
    @functools.cache
    def open(root: str | None) -> _Shards:
        """Open a folder once in a process; its shards are read when first asked for."""
        package = Path(str(resources.files("negprompt.data") / "resources" / "icons"))
        return _Shards(package if root is None else Path(root))

    @functools.cache  # noqa: B019 -- one object a folder, alive as long as the process
    def samples(self, shard: str) -> list[ShardSample]:
        return read_shard(self.folder / shard, self._entry("shards", shard)["sha256"])

    def images(self, shard: str, names: Sequence[str] | None, set_name: str) -> ImageSet:
        """Pictures of the given names with their labels; with `names=None` all pictures, as OOD."""
        samples = self.samples(shard)
        if names is not None:
            samples = [sample for sample in samples if sample.fields["name"] in set(names)]
        return _image_set(set_name, samples, names)

    def hard_split(self, number: int) -> dict[str, Any]:
        return self._entry("hard_splits", str(number))

    def _entry(self, section: str, name: str) -> dict[str, Any]:
        try:
            entry: dict[str, Any] = self.index[section][name]
        except KeyError as error:
            msg = f"benchmark.json in {self.folder} lists no {section} {name}: build the shards again."
            raise DataError(msg) from error
        return entry


def _listing(root: str | None, shard: str, names: tuple[str, ...]) -> Listing:
    return in_memory(_Shards.open(root).images(shard, names, shard), names)


def _image_set(name: str, samples: Sequence[ShardSample], class_names: Sequence[str] | None) -> ImageSet:
    label = {} if class_names is None else {class_name: place for place, class_name in enumerate(class_names)}
    return ImageSet(
        name=name,
        keys=[sample.key for sample in samples],
        encoded=[sample.encoded for sample in samples],
        labels=[label.get(sample.fields["name"], OOD_LABEL) for sample in samples],
    )


def _take(images: ImageSet, positions: Sequence[int]) -> ImageSet:
    return images._replace(
        keys=[images.keys[place] for place in positions],
        encoded=[images.encoded[place] for place in positions],
        labels=[images.labels[place] for place in positions],
    )


def _refuse_empty_classes(images: ImageSet, class_names: Sequence[str]) -> None:
    present = set(images.labels)
    empty = [name for label, name in enumerate(class_names) if label not in present]
    if empty:
        msg = f"{images.name} has no picture of: {', '.join(empty)}. Leave these classes out (data.class_names)."
        raise DataError(msg)
