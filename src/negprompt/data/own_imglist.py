"""Pictures of one's own in image lists: `path label` a line, the format of OpenOOD."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from negprompt.data.base import Declared
from negprompt.data.classes import Classes, from_keys, renamed
from negprompt.data.listed_ood import ListedOOD, chosen
from negprompt.data.listing import Listing, of_rows
from negprompt.data.own import OwnID
from negprompt.data.own_csv import base
from negprompt.data.own_tables import read_imglist
from negprompt.errors import ConfigError, DataError


class ImglistID(OwnID):
    """ID pictures of two image lists; labels are whole numbers from 0.

    `train_list`, `test_list`: the lists; paths in them count from `root`, None for each list's folder. `class_names`:
    .txt with one name a line, in label order; None where the pictures of a label lie in one folder, which then names
    it.
    """

    train_list: Annotated[str | None, Field(exclude=True)] = None
    test_list: Annotated[str | None, Field(exclude=True)] = None
    root: Annotated[str | None, Field(exclude=True)] = None
    class_names: Annotated[str | None, Field(exclude=True)] = None

    def check(self) -> None:
        """Refuse missing or damaged lists."""
        self.classes()
        if self.shards is None:
            self._rows(self.test_list, "test_list")

    def all_classes(self) -> Classes:
        """Labels 0, 1, ... and their names."""
        if (shards := self.shard_folder) is not None:
            return renamed(shards.classes(), self.class_names)
        _, rows = self._rows(self.train_list, "train_list")
        keys = list(map(str, range(max(label for _, label in rows) + 1)))
        if self.class_names is not None:
            return from_keys(keys, self.class_names)
        folders: dict[str, set[str]] = {key: set() for key in keys}
        for path, label in rows:
            folders[str(label)].add(Path(path).parent.name)
        unclear = [key for key, names in folders.items() if len(names) != 1 or "" in names]
        if unclear:
            msg = (
                f"{self.train_list} does not tell the name of label {unclear[0]} (its pictures lie in "
                f"{len(folders[unclear[0]])} folders): set data.class_names to a .txt with one name a line."
            )
            raise DataError(msg)
        named = from_keys([folders[key].pop() for key in keys], None)
        return Classes(tuple(keys), named.names)

    def list_train(self) -> Listing:
        """Pictures of the training list."""
        return self._listing(self.train_list, "train_list")

    def list_test(self) -> Listing:
        """Pictures of the test list."""
        return self._listing(self.test_list, "test_list")

    def _listing(self, file: str | None, setting: str) -> Listing:
        path, rows = self._rows(file, setting)
        return of_rows(base(self.root, path), [(name, name, str(label)) for name, label in rows])

    def _rows(self, file: str | None, setting: str) -> tuple[Path, list[tuple[str, int]]]:
        if file is None:
            msg = f"data=imglist needs data.{setting}=<list with 'path label' lines>."
            raise ConfigError(msg)
        rows = read_imglist(Path(file), f"data.{setting}")
        if any(label < 0 for _, label in rows):
            msg = f"{file} has pictures with label -1, which is OOD: give it as ood=imglist ood.lists={{name: {file}}}."
            raise DataError(msg)
        return Path(file), rows


class ImglistOOD(Declared, ListedOOD):
    """OOD pictures of image lists, one a set; labels in them are not looked at. `sets`: those to use, None for all."""

    lists: Annotated[dict[str, str] | None, Field(exclude=True)] = None
    root: Annotated[str | None, Field(exclude=True)] = None
    sets: list[str] | None = None

    def check(self) -> None:
        """Refuse missing or damaged lists."""
        for name in self.set_names():
            if self.shards is None:
                read_imglist(self._list(name), "ood.lists")

    def set_names(self) -> tuple[str, ...]:
        """Sets in the order they were given in."""
        if (shards := self.shard_folder) is not None:
            known = shards.ood_names()
        elif self.lists:
            known = tuple(self.lists)
        else:
            msg = "ood=imglist needs ood.lists={name: list, ...}, one list with 'path label' lines an OOD set."
            raise ConfigError(msg)
        return chosen(self.sets, known)

    def list_set(self, name: str) -> Listing:
        """Pictures of one list."""
        path = self._list(name)
        return of_rows(base(self.root, path), [(row, row, None) for row, _ in read_imglist(path, "ood.lists")])

    def _list(self, name: str) -> Path:
        return Path((self.lists or {})[name])
