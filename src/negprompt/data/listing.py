"""What a layout reader returns: names of pictures, their classes, where their bytes are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from negprompt.data.contents import Contents, Files, Memory
from negprompt.data.strings import Strings
from negprompt.data.tree import Tree
from negprompt.errors import DataError
from negprompt.types import OOD_LABEL, ImageSet

NO_CLASS = -1


@dataclass(frozen=True)
class Listing:
    """Pictures of one set.

    `keys` name them and do not depend on where the data set lies; `classes` are the keys of its classes (folder names,
    WordNet ids); `class_of` (N,) int32 points into them, -1 for a picture without a class.
    """

    keys: Sequence[str]
    classes: tuple[str, ...]
    class_of: npt.NDArray[np.int32]
    contents: Contents

    def __len__(self) -> int:
        """Number of pictures."""
        return len(self.keys)

    def take(self, rows: npt.NDArray[np.int64]) -> Listing:
        """The pictures of some rows, in that order."""
        keys = Strings.of(self.keys[int(row)] for row in rows)
        return replace(self, keys=keys, class_of=self.class_of[rows], contents=self.contents.take(rows))

    def counts(self) -> dict[str, int]:
        """Number of pictures of each class, 0 included."""
        labelled = self.class_of[self.class_of >= 0]
        found = np.bincount(labelled, minlength=len(self.classes))
        return dict(zip(self.classes, map(int, found), strict=True))

    def labels(self, classes: Sequence[str]) -> npt.NDArray[np.int64]:
        """Label of each picture (N,): the place of its class in `classes`, -1 where it is not among them."""
        place = {key: label for label, key in enumerate(classes)}
        table = np.array([place.get(key, OOD_LABEL) for key in self.classes] + [OOD_LABEL], np.int64)
        return table[self.class_of]  # -1 reads the last place

    def rows_by_class(self, classes: Sequence[str]) -> Iterator[tuple[str, npt.NDArray[np.int64]]]:
        """Rows of each class, class by class."""
        labels = self.labels(classes)
        order = np.argsort(labels, kind="stable")
        first = np.searchsorted(labels[order], np.arange(len(classes) + 1))
        for label, key in enumerate(classes):
            yield key, order[first[label] : first[label + 1]]

    def rows_of(self, keys: Sequence[str]) -> npt.NDArray[np.int64]:
        """Row of each of some keys, -1 where there is no such picture."""
        wanted = set(keys)
        found = {key: row for row, key in enumerate(self.keys) if key in wanted}
        return np.array([found.get(key, -1) for key in keys], np.int64)

    def image_set(self, name: str, labels: npt.NDArray[np.int64]) -> ImageSet:
        """The pictures under their labels."""
        return ImageSet(name, self.keys, self.contents, labels.tolist())


def by_folder(tree: Tree) -> Listing:
    """One class a folder: the first part of each path, which is the class key; none for pictures beside the folders."""
    keys = [folder.partition("/")[0] for folder in tree.folders]
    classes = tuple(sorted({key for key in keys if key}))
    place = {key: number for number, key in enumerate(classes)}
    table = np.array([place.get(key, NO_CLASS) for key in keys], np.int32)
    return Listing(tree.paths, classes, table[tree.folder_of], Files(tree.root, tree.paths))


def without_class(tree: Tree) -> Listing:
    """All pictures below a folder, as OOD."""
    return Listing(tree.paths, (), np.full(len(tree.names), NO_CLASS, np.int32), Files(tree.root, tree.paths))


def of_rows(root: Path, rows: Sequence[tuple[str, str, str | None]]) -> Listing:
    """A listing from (key, path below root, class key or None) rows.

    Raises:
        DataError: a key stands there twice.
    """
    keys = [key for key, _, _ in rows]
    if len(set(keys)) < len(keys):
        twice = next(key for key, count in Counter(keys).items() if count > 1)
        msg = f"Picture {twice!r} is listed twice below {root}: keep one of the lines."
        raise DataError(msg)
    classes = tuple(sorted({key for _, _, key in rows if key is not None}))
    place = {key: number for number, key in enumerate(classes)}
    class_of = np.array([NO_CLASS if key is None else place[key] for _, _, key in rows], np.int32)
    return Listing(Strings.of(keys), classes, class_of, Files(root, Strings.of(path for _, path, _ in rows)))


def in_memory(images: ImageSet, classes: tuple[str, ...]) -> Listing:
    """Pictures that are in memory already, their labels as places in `classes`."""
    return Listing(images.keys, classes, np.array(images.labels, np.int32), Memory(images.encoded, images.name))
