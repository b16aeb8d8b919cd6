"""TinyImageNet in its own folder layout, with the known-class lists of the open-set protocols."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from negprompt.data.base import Expected, Source
from negprompt.data.classes import Classes, renamed
from negprompt.data.imagenet_lists import imagenet_classes
from negprompt.data.listed import ListedID
from negprompt.data.listed_ood import ListedOOD
from negprompt.data.listing import Listing, by_folder, of_rows
from negprompt.data.tree import list_tree
from negprompt.errors import ConfigError, DataError

FOLDER = "tiny-imagenet-200"
NUM_CLASSES, TRAIN_PER_CLASS, VAL_PER_CLASS = 200, 500, 50
_GET = "Unpack tiny-imagenet-200.zip again (docs/data.md says where to get it)."

KNOWN = {
    "zoc": (
        (192, 112, 145, 107, 91, 180, 144, 193, 10, 125, 186, 28, 72, 124, 54, 77, 157, 169, 104, 166),
        (156, 157, 167, 175, 153, 11, 147, 0, 199, 171, 132, 60, 87, 190, 101, 111, 193, 71, 131, 192),
        (28, 15, 103, 33, 90, 167, 61, 13, 124, 159, 49, 12, 54, 78, 82, 107, 80, 25, 140, 46),
        (128, 132, 123, 72, 154, 35, 86, 10, 188, 28, 85, 89, 91, 82, 116, 65, 96, 41, 134, 25),
        (102, 79, 47, 106, 59, 93, 145, 10, 62, 175, 76, 183, 48, 130, 38, 186, 44, 8, 29, 26),
    ),
    "arpl": ((108, 147, 17, 58, 193, 123, 72, 144, 75, 167, 134, 14, 81, 171, 44, 197, 152, 66, 1, 133),),
}
"""Places of the 20 known classes among the 200 sorted ids, by protocol and trial: ZOC and CAC, and ARPL."""

Protocol = Literal["zoc", "arpl"]
Trial = Annotated[int | None, Field(ge=1, le=5)]


class Archive:
    """The unpacked archive.

    Raises:
        DataError: it is not there, or lacks one of its files.
    """

    def __init__(self, root: str | None, data_root: str, cache: Path | None) -> None:
        self.root = Path(data_root) / FOLDER if root is None else Path(root)
        self._cache = cache
        if not (self.root / "train").is_dir() and (self.root / FOLDER / "train").is_dir():
            self.root = self.root / FOLDER
        if not (self.root / "train").is_dir() or not (self.root / "val").is_dir():
            msg = f"No TinyImageNet in {self.root}: it needs train/ and val/. {_GET} Or set data.root."
            raise DataError(msg)

    def classes(self) -> Classes:
        """The 200 ids, sorted; ImageNet's cleaned name where it has one, else the first name in words.txt."""
        keys = sorted(self._lines("wnids.txt"))
        cleaned = dict(zip(*imagenet_classes(), strict=True))
        words = dict(line.split("\t", 1) for line in self._lines("words.txt") if "\t" in line)
        names = [cleaned.get(key) or words.get(key, key).partition(",")[0] for key in keys]
        return Classes(tuple(keys), tuple(names))

    def train(self) -> Listing:
        """`train/<id>/images/*`."""
        return by_folder(list_tree(self.root / "train", self._cache))

    def val(self) -> Listing:
        """`val/images/*` with the labels of val_annotations.txt; keys are file names."""
        pairs = [line.split("\t")[:2] for line in self._lines("val/val_annotations.txt")]
        label = {pair[0]: pair[1] for pair in pairs if len(pair) > 1}
        tree = list_tree(self.root / "val", self._cache)
        rows = [(path.rpartition("/")[2], path) for path in tree.paths]
        return of_rows(tree.root, [(name, path, label.get(name)) for name, path in sorted(rows)])

    def _lines(self, name: str) -> list[str]:
        path = self.root / name
        try:
            return [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        except (OSError, UnicodeDecodeError) as error:
            msg = f"{path} cannot be read ({getattr(error, 'strerror', None) or error}). {_GET}"
            raise DataError(msg) from error


def known_classes(classes: Classes, protocol: Protocol, trial: int) -> tuple[str, ...]:
    """Ids of the known classes of a trial.

    Raises:
        ConfigError: the protocol has no such trial.
    """
    trials = KNOWN[protocol]
    if trial > len(trials):
        msg = f"data.trial={trial}: data.protocol={protocol} has {len(trials)} trial(s); set data.trial=1."
        raise ConfigError(msg)
    return tuple(sorted(classes.keys[place] for place in trials[trial - 1]))


class TinyImageNetID(ListedID):
    """The known classes of a trial, or all 200 with `trial=None`; tested on the validation pictures."""

    root: Annotated[str | None, Field(exclude=True)] = None
    data_root: Annotated[str, Field(exclude=True)] = "data"
    class_names: Annotated[str | None, Field(exclude=True)] = None
    protocol: Protocol = "zoc"
    trial: Trial = 1

    def check(self) -> None:
        """Refuse a missing archive and an unknown trial."""
        self.classes()

    def _all(self) -> Classes:
        if self.shard_folder is not None:
            return self.shard_folder.classes()
        return Archive(self.root, self.data_root, self.cache).classes()

    def all_classes(self) -> Classes:
        """Known classes."""
        classes = renamed(self._all(), self.class_names)
        if self.trial is None or len(classes.keys) < NUM_CLASSES:  # shards of a trial hold its classes only
            return classes
        return classes.keep(known_classes(classes, self.protocol, self.trial), "data.trial")

    def known_classes(self) -> tuple[str, ...]:
        """All 200."""
        return self._all().keys

    def list_train(self) -> Listing:
        """All training pictures."""
        return Archive(self.root, self.data_root, self.cache).train()

    def list_test(self) -> Listing:
        """All validation pictures."""
        return Archive(self.root, self.data_root, self.cache).val()

    def expected(self, set_name: str) -> Expected:
        """Counts of the archive."""
        per_class = TRAIN_PER_CLASS if set_name == "train" else VAL_PER_CLASS
        return Expected(per_class * len(self.classes().keys), per_class, _GET)


class TinyImageNetOOD(ListedOOD):
    """Validation pictures of the classes that a trial does not know."""

    root: Annotated[str | None, Field(exclude=True)] = None
    data_root: Annotated[str, Field(exclude=True)] = "data"
    protocol: Protocol = "zoc"
    trial: Trial = 1

    def check(self) -> None:
        """Refuse a missing archive and a trial that leaves no class."""
        if self.shards is None:
            self._unknown(Archive(self.root, self.data_root, self.cache))

    def set_names(self) -> tuple[str, ...]:
        """One set."""
        return ("unknown",)

    def list_set(self, name: str) -> Listing:
        """Validation pictures of the other classes."""
        del name
        archive = Archive(self.root, self.data_root, self.cache)
        unknown, listing = self._unknown(archive), archive.val()
        return listing.take(np.flatnonzero(listing.labels(unknown) >= 0))

    def stored_name(self, set_name: str) -> str:
        """Other classes are unknown in each trial."""
        return f"{set_name}_{self.protocol}_{self.trial}"

    def _unknown(self, archive: Archive) -> list[str]:
        if self.trial is None:
            msg = "data.trial=null knows all 200 classes and leaves none as OOD: set data.trial=1, or another ood=..."
            raise ConfigError(msg)
        classes = archive.classes()
        known = known_classes(classes, self.protocol, self.trial)
        return [key for key in classes.keys if key not in known]

    def sources(self) -> list[Source]:
        """One set of the unknown classes."""
        (source,) = super().sources()
        return [source._replace(expected=Expected(VAL_PER_CLASS * (NUM_CLASSES - 20), None, _GET))]
