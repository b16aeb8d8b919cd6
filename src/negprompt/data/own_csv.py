"""Pictures of one's own in a csv file: a path and a label a row."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from pydantic import Field

from negprompt.data.base import Declared
from negprompt.data.classes import Classes, from_keys, renamed
from negprompt.data.listed_ood import ListedOOD, chosen
from negprompt.data.listing import Listing, of_rows
from negprompt.data.own import OwnID
from negprompt.data.own_tables import Row, read_csv
from negprompt.data.stored import TEST, TRAIN
from negprompt.errors import ConfigError, DataError


class CsvID(OwnID):
    """ID pictures of a csv file whose split column says train or test; other rows are left aside.

    `file`: the csv; paths in it count from `root`, None for the csv's folder. `class_names`: .txt or .csv with other
    names, None for the labels themselves.
    """

    file: Annotated[str | None, Field(exclude=True)] = None
    root: Annotated[str | None, Field(exclude=True)] = None
    path_column: str = "path"
    label_column: str = "label"
    split_column: str = "split"
    train_value: str = TRAIN
    test_value: str = TEST
    class_names: Annotated[str | None, Field(exclude=True)] = None

    def check(self) -> None:
        """Refuse a missing or damaged csv, and one without training or test rows."""
        self.classes()
        if self.shards is None:
            self._rows(self.test_value)

    def all_classes(self) -> Classes:
        """Labels of the training rows: sorted, whole numbers by their value."""
        if (shards := self.shard_folder) is not None:
            return renamed(shards.classes(), self.class_names)
        return from_keys(in_order({row.label for row in self._rows(self.train_value)}), self.class_names)

    def list_train(self) -> Listing:
        """Rows of the training split."""
        return self._listing(self.train_value)

    def list_test(self) -> Listing:
        """Rows of the test split."""
        return self._listing(self.test_value)

    def _listing(self, part: str) -> Listing:
        return of_rows(base(self.root, self._file()), [(row.path, row.path, row.label) for row in self._rows(part)])

    def _rows(self, part: str) -> list[Row]:
        columns = {
            "data.path_column": self.path_column,
            "data.label_column": self.label_column,
            "data.split_column": self.split_column,
        }
        rows = read_csv(self._file(), "data.file", columns)
        kept = [row for row in rows if row.part == part]
        if not kept:
            found = ", ".join(sorted({row.part for row in rows})) or "no rows"
            msg = (
                f"{self.file} has no row with {self.split_column}={part}; found: {found}. "
                "Set data.train_value and data.test_value."
            )
            raise DataError(msg)
        return kept

    def _file(self) -> Path:
        if self.file is None:
            columns = ",".join((self.path_column, self.label_column, self.split_column))
            msg = f"data=csv needs data.file=<csv with the columns {columns}>."
            raise ConfigError(msg)
        return Path(self.file)


class CsvOOD(Declared, ListedOOD):
    """OOD pictures of a csv file; the set column names the set of each row. `sets`: those to use, None for all."""

    file: Annotated[str | None, Field(exclude=True)] = None
    root: Annotated[str | None, Field(exclude=True)] = None
    path_column: str = "path"
    set_column: str = "label"
    sets: list[str] | None = None

    def check(self) -> None:
        """Refuse a missing or damaged csv, and unknown sets."""
        self.set_names()

    def set_names(self) -> tuple[str, ...]:
        """Sets in sorted order."""
        if (shards := self.shard_folder) is not None:
            known = shards.ood_names()
        else:
            known = tuple(sorted({row.label for row in self._rows()}))
        return chosen(self.sets, known)

    def list_set(self, name: str) -> Listing:
        """Rows of one set."""
        return of_rows(
            base(self.root, self._file()), [(row.path, row.path, None) for row in self._rows() if row.label == name]
        )

    def _rows(self) -> list[Row]:
        columns = {"ood.path_column": self.path_column, "ood.set_column": self.set_column}
        return read_csv(self._file(), "ood.file", columns)

    def _file(self) -> Path:
        if self.file is None:
            msg = f"ood=csv needs ood.file=<csv with the columns {self.path_column},{self.set_column}>."
            raise ConfigError(msg)
        return Path(self.file)


def base(root: str | None, file: Path) -> Path:
    """Folder that the paths of a list count from."""
    return file.parent if root is None else Path(root)


def in_order(labels: set[str]) -> Sequence[str]:
    """Labels sorted; where all are whole numbers, by their value.

    Example:
        >>> in_order({"10", "9"}), in_order({"cat", "ant"})
        (['9', '10'], ['ant', 'cat'])
    """
    in_text_order = sorted(labels)  # the order of "1" and "01" too is the same in every process
    return sorted(in_text_order, key=int) if all(label.isdecimal() for label in labels) else in_text_order
