"""Class keys (folder names, WordNet ids) and what they are called in a prompt."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from negprompt.errors import ConfigError, DataError, nearest


class Classes(NamedTuple):
    """Classes in label order: `keys` are unique, `names` are what prompts say and may repeat."""

    keys: tuple[str, ...]
    names: tuple[str, ...]

    def keep(self, keys: Sequence[str], setting: str) -> Classes:
        """Some of the classes, in label order.

        Raises:
            ConfigError: an unknown class, or none.
        """
        if not keys:
            msg = f"{setting}=[] leaves no class: name at least one, or leave it null for all."
            raise ConfigError(msg)
        for key in keys:
            if key not in self.keys:
                msg = f"{setting}: unknown class {key!r}; {nearest(key, self.keys)}."
                raise ConfigError(msg)
        wanted = set(keys)
        kept = [pair for pair in zip(self.keys, self.names, strict=True) if pair[0] in wanted]
        return Classes(tuple(key for key, _ in kept), tuple(name for _, name in kept))


def readable(key: str) -> str:
    """A class name from a folder's name.

    Example:
        >>> readable("golden_retriever")
        'golden retriever'
    """
    return " ".join(key.replace("_", " ").split()) or key


def from_keys(keys: Sequence[str], names_file: str | None) -> Classes:
    """Classes by their keys, named as their keys or by a file.

    Args:
        keys: class keys in label order.
        names_file: .txt with one name a line, in label order; or .csv with the columns class,name in any order.

    Raises:
        DataError: the file is missing, or does not name every class.
    """
    if names_file is None:
        return Classes(tuple(keys), tuple(map(readable, keys)))
    path = Path(names_file)
    if not path.is_file():
        msg = f"data.class_names={names_file}: there is no such file; a .txt with one name a line or a .csv class,name."
        raise DataError(msg)
    try:
        named = _csv_names(path) if path.suffix.lower() == ".csv" else _lines(path, keys)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        msg = f"data.class_names={names_file} cannot be read ({error}): it must be a text file in UTF-8."
        raise DataError(msg) from error
    lacking = [key for key in keys if not named.get(key)]
    if lacking:
        known = nearest(lacking[0], named) if named else "the file is empty"
        msg = f"{path} has no name for class {lacking[0]!r} ({len(lacking)} of {len(keys)} classes lack one); {known}."
        raise DataError(msg)
    return Classes(tuple(keys), tuple(named[key] for key in keys))


def renamed(classes: Classes, names_file: str | None) -> Classes:
    """The classes under the names of a file, where one is given.

    Raises:
        DataError: the file is missing, or does not name every class.
    """
    return classes if names_file is None else from_keys(classes.keys, names_file)


def _csv_names(path: Path) -> dict[str, str]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.DictReader(file)
        if not {"class", "name"} <= set(rows.fieldnames or ()):
            found = ", ".join(rows.fieldnames or ()) or "none"
            msg = f"{path} has the columns {found}: its first line must be class,name."
            raise DataError(msg)
        return {(row["class"] or "").strip(): (row["name"] or "").strip() for row in rows}


def _lines(path: Path, keys: Sequence[str]) -> dict[str, str]:
    lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").split("\n") if line.strip()]
    if len(lines) != len(keys):
        msg = (
            f"{path} has {len(lines)} names and there are {len(keys)} classes: write one name a line, in the sorted "
            "order of the classes, or a .csv with the columns class,name."
        )
        raise DataError(msg)
    return dict(zip(keys, lines, strict=True))
