"""ImageNet-1k and its hard splits, as the original archives, torchvision, timm or Kaggle lay them out."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field

from negprompt.data.base import Expected, Problem, Source
from negprompt.data.classes import Classes, renamed
from negprompt.data.imagenet_layout import Layout, find_layout, val_listing
from negprompt.data.imagenet_lists import (
    NUM_TRAIN,
    PER_CLASS,
    HardSplit,
    hard_split,
    imagenet_classes,
    validation_class,
)
from negprompt.data.listed import ListedID
from negprompt.data.listed_ood import ListedOOD
from negprompt.data.listing import Listing, by_folder
from negprompt.data.stored import TEST, TRAIN
from negprompt.data.tree import list_tree

_GET = "Get the pictures from image-net.org (docs/data.md), or set data.root."


class ImageNetID(ListedID):
    """All 1,000 classes, or the ID classes of a hard split; tested on the validation pictures.

    `root`: folder with train/ and val/, None to look in `data_root`; `class_names`: a file with other names (.txt in
    label order of all 1,000 classes, or .csv class,name).
    """

    root: Annotated[str | None, Field(exclude=True)] = None
    data_root: Annotated[str, Field(exclude=True)] = "data"
    class_names: Annotated[str | None, Field(exclude=True)] = None
    hard_split: HardSplit | None = None

    def check(self) -> None:
        """Refuse a missing ImageNet before anything is loaded."""
        self.classes()
        if self.shards is None:
            self.layout()

    def layout(self) -> Layout:
        """Where the pictures lie."""
        return find_layout(self.root, self.data_root)

    def all_classes(self) -> Classes:
        """Those of the split, or all."""
        classes = renamed(imagenet_classes(), self.class_names)
        return classes if self.hard_split is None else classes.keep(hard_split(self.hard_split)[0], "data.hard_split")

    def list_train(self) -> Listing:
        """All training pictures."""
        return by_folder(list_tree(self.layout().train, self.cache))

    def list_test(self) -> Listing:
        """All validation pictures."""
        layout = self.layout()
        return val_listing(list_tree(layout.val, self.cache), layout)

    def known_classes(self) -> tuple[str, ...]:
        """All 1,000, also those that a hard split leaves out."""
        return imagenet_classes().keys

    def expected(self, set_name: str) -> Expected:
        """ILSVRC's counts."""
        if set_name == TEST:
            return Expected(PER_CLASS * len(self.classes().keys), PER_CLASS, _GET)
        whole = self.hard_split is None and self.keep_classes is None
        return Expected(NUM_TRAIN if whole and set_name == TRAIN else None, None, _GET)

    def doubts_of(self, set_name: str, listing: Listing) -> list[Problem]:
        """Labels of validation pictures that are not ILSVRC's."""
        return label_doubts(listing) if set_name == TEST else []


class ImageNetOOD(ListedOOD):
    """OOD side of a hard split: validation pictures of its OOD classes."""

    root: Annotated[str | None, Field(exclude=True)] = None
    data_root: Annotated[str, Field(exclude=True)] = "data"
    hard_split: HardSplit

    def check(self) -> None:
        """Refuse a missing ImageNet before anything is loaded."""
        if self.shards is None:
            find_layout(self.root, self.data_root)

    def set_names(self) -> tuple[str, ...]:
        """One set, named like the group."""
        return (self.name,)

    def list_set(self, name: str) -> Listing:
        """Validation pictures of the OOD classes."""
        del name
        layout = find_layout(self.root, self.data_root)
        return self._of_split(val_listing(list_tree(layout.val, self.cache), layout))

    def listing(self, name: str) -> Listing:
        """From shards of this split, or from those of the whole ImageNet."""
        folder = self.shard_folder
        if folder is None or f"ood/{name}" in folder.set_names():
            return super().listing(name)
        return self._of_split(folder.listing(TEST))

    def left_out(self, name: str) -> int:
        """Of shards of the whole ImageNet, those of the OOD classes."""
        folder = self.shard_folder
        if folder is None or f"ood/{name}" in folder.set_names():
            return super().left_out(name)
        before = folder.dropped_by_class(TEST)
        return sum(before.get(key, 0) for key in hard_split(self.hard_split)[1])

    def _of_split(self, listing: Listing) -> Listing:
        return listing.take(np.flatnonzero(listing.labels(hard_split(self.hard_split)[1]) >= 0))

    def sources(self) -> list[Source]:
        """One set, whose classes are known."""
        classes = hard_split(self.hard_split)[1]
        read = functools.partial(self.listing, self.name)
        counts = Expected(PER_CLASS * len(classes), PER_CLASS, _GET)
        return [Source(self.name, "ood", read, classes, imagenet_classes().keys, counts, at_least=1)]


def label_doubts(listing: Listing) -> list[Problem]:
    """Pictures with ILSVRC's validation names whose class is another than ILSVRC's."""
    wrong: list[tuple[str, str, str]] = []
    for key, place in zip(listing.keys, listing.class_of.tolist(), strict=True):
        truth = validation_class(Path(key).name)
        given = listing.classes[place] if place >= 0 else None
        if truth is not None and given is not None and given != truth:
            wrong.append((key, given, truth))
    return [] if not wrong else [_wrong_labels(wrong, len(listing))]


def _wrong_labels(wrong: Sequence[tuple[str, str, str]], total: int) -> Problem:
    examples = ", ".join(f"{key} is under {given} and belongs to {truth}" for key, given, truth in wrong[:3])
    what = f"{len(wrong)} of {total} validation pictures have another label than ILSVRC's: {examples}"
    fix = "Sort them again (or leave val/ flat, without a label file: the package knows the labels)."
    return Problem(TEST, what, fix)
