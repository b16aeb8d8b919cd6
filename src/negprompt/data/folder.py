"""Pictures of one's own in folders: one folder a class, one folder an OOD set."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
from pydantic import Field

from negprompt.data.base import Declared
from negprompt.data.classes import Classes, from_keys, renamed
from negprompt.data.listed_ood import ListedOOD, chosen
from negprompt.data.listing import Listing, by_folder, without_class
from negprompt.data.own import OwnID
from negprompt.data.stored import TEST, TRAIN
from negprompt.data.tree import Tree, list_tree
from negprompt.errors import ConfigError, DataError

_VAL_NAMES = ("val", "validation")
_TEST_NAMES = ("test", *_VAL_NAMES)


class FolderID(OwnID):
    """`root/train/<class>/*` and `root/test/<class>/*`, or `root/<class>/*` of which a share is kept for the test.

    `test_fraction`: share of each class that is test where the folder has no train/ and test/; the draw is a function
    of `split_seed` and the pictures' names. `class_names`: .txt (one name a line, classes sorted) or .csv (class,name),
    None for the folders' names with spaces in place of _. With `validation`, root/val/ is read in place of root/test/.
    """

    root: Annotated[str | None, Field(exclude=True)] = None
    class_names: Annotated[str | None, Field(exclude=True)] = None
    test_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.2
    split_seed: Annotated[int, Field(ge=0)] = 0

    def check(self) -> None:
        """Refuse a missing folder and a folder without classes."""
        self.classes()

    def all_classes(self) -> Classes:
        """Folder names, sorted, and their names."""
        if (shards := self.shard_folder) is not None:
            return renamed(shards.classes(), self.class_names)
        return from_keys(self._class_folders(), self.class_names)

    def list_train(self) -> Listing:
        """train/, or what the test leaves."""
        return self._part(TRAIN)

    def list_test(self) -> Listing:
        """test/ (or val/), or the share that is kept for the test."""
        return self._part(TEST)

    def _part(self, part: str) -> Listing:
        if self._parts() is not None:
            return by_folder(list_tree(self._top(part), self.cache))
        listing = by_folder(self._tree())
        test = held_out(listing, self.classes().keys, self.test_fraction, self.split_seed)
        return listing.take(np.flatnonzero(test if part == TEST else ~test))

    def _class_folders(self) -> list[str]:
        """Names of the class folders, also of those that are empty."""
        tree = list_tree(self._top(TRAIN), self.cache) if self._parts() is not None else self._tree()
        names = sorted({folder.partition("/")[0] for folder in tree.folders if folder})
        if not names:
            msg = (
                f"{tree.root} has no folders: data=folder needs one folder a class, with its pictures, in it or in its "
                "train/ and test/. Pictures without classes are OOD sets: ood=folder ood.root=..."
            )
            raise DataError(msg)
        return names

    def _tree(self) -> Tree:
        return list_tree(self._root(), self.cache)

    def _top(self, part: str) -> Path:
        parts = self._parts()
        if parts is None:
            return self._root()
        return parts[0] if part == TRAIN else parts[1]

    def _parts(self) -> tuple[Path, Path] | None:
        """train/ and test/, None for a folder with class folders only."""
        root = self._root()
        train = root / TRAIN
        names = _VAL_NAMES if self.validation else _TEST_NAMES
        test = next((root / name for name in names if (root / name).is_dir()), None)
        if self.validation and not (train.is_dir() and test):
            msg = (
                f"data.validation=true needs train/ and val/ in data.root={root}: the share that is kept of class "
                "folders is for the test."
            )
            raise DataError(msg)
        if not train.is_dir():
            return None
        if test is None:
            msg = (
                f"{root} has train/ and no test/ (or val/): add it, or set data.root={train} to keep a share of its "
                "pictures for the test (data.test_fraction)."
            )
            raise DataError(msg)
        return train, test

    def _root(self) -> Path:
        if self.root is None:
            msg = "data=folder needs data.root=<folder with one folder a class>."
            raise ConfigError(msg)
        root = Path(self.root)
        if not root.is_dir():
            msg = f"data.root={self.root}: there is no such folder."
            raise DataError(msg)
        return root


class FolderOOD(Declared, ListedOOD):
    """Each folder in `root` is an OOD set, or `root` itself where pictures lie in it; `sets`: those to use."""

    root: Annotated[str | None, Field(exclude=True)] = None
    sets: list[str] | None = None

    def check(self) -> None:
        """Refuse a missing folder and unknown sets."""
        self.set_names()

    def set_names(self) -> tuple[str, ...]:
        """Folder names, sorted."""
        known = shards.ood_names() if (shards := self.shard_folder) is not None else tuple(self._folders())
        return chosen(self.sets, known)

    def list_set(self, name: str) -> Listing:
        """All pictures below the set's folder."""
        return without_class(list_tree(self._folders()[name], self.cache))

    def _folders(self) -> dict[str, Path]:
        if self.root is None:
            msg = "ood=folder needs ood.root=<folder with one folder an OOD set>."
            raise ConfigError(msg)
        root = Path(self.root)
        if not root.is_dir():
            msg = f"ood.root={self.root}: there is no such folder; each folder in it is an OOD set."
            raise DataError(msg)
        tree = list_tree(root, self.cache)
        if tree.counts().get("", 0):
            return {root.resolve().name: root}
        names = sorted({folder.partition("/")[0] for folder in tree.folders if folder})
        if not names:
            msg = (
                f"ood.root={self.root} has neither pictures nor folders with pictures: each folder in it is an OOD set."
            )
            raise DataError(msg)
        return {name: root / name for name in names}


def held_out(listing: Listing, classes: Sequence[str], fraction: float, seed: int) -> npt.NDArray[np.bool_]:
    """Which pictures (N,) are kept for the test: a share of each class, at least one, and at least one is left.

    Raises:
        DataError: a class has a single picture.
    """
    test = np.zeros(len(listing), bool)
    for key, rows in listing.rows_by_class(classes):
        if len(rows) < 2:
            what = "one picture, which cannot be both training and test" if len(rows) else "no picture"
            msg = f"Class {key} has {what}: add pictures, or leave the class out (data.keep_classes)."
            raise DataError(msg)
        names = [listing.keys[int(row)] for row in rows]
        order = np.argsort(np.array(names, object), kind="stable")
        digest = hashlib.sha256(f"test/{seed}/{key}".encode("utf-8", "surrogateescape")).digest()
        rng = np.random.default_rng(int.from_bytes(digest[:8], "big"))
        count = min(len(rows) - 1, max(1, round(len(rows) * fraction)))
        test[rows[order[rng.choice(len(rows), size=count, replace=False)]]] = True
    return test
