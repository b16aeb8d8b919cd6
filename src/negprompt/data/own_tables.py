"""Tables of pictures that people bring: csv files and image lists, read with the line of every mistake."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from negprompt.errors import DataError


class Row(NamedTuple):
    """A picture of a table: path as it is written there, label, and the value of the column that tells sets apart."""

    path: str
    label: str
    part: str


def read_csv(path: Path, setting: str, columns: Mapping[str, str]) -> list[Row]:
    """Rows of a csv file with a header.

    Args:
        path: the file.
        setting: that names the file, for messages.
        columns: by the setting that names it: the column of paths, that of labels, that which tells sets apart (or
            none).

    Raises:
        DataError: the file is missing, lacks a column, or a row is incomplete; names the line.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file)
            found = list(rows.fieldnames or ())
            for named_by, column in columns.items():
                if column not in found:
                    msg = (
                        f"{path} has no column {column!r}; its first line has: {', '.join(found) or 'nothing'}. "
                        f"Rename the column, or name it in the settings ({named_by}=...)."
                    )
                    raise DataError(msg)
            wanted = list(columns.values())
            return [_row(path, rows.line_num, [row[column] for column in wanted], wanted) for row in rows]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise _unreadable(path, setting, error) from error


def _row(path: Path, line: int, values: list[str | None], columns: list[str]) -> Row:
    stripped = [(value or "").strip() for value in values]
    if not all(stripped):
        msg = f"{path}, line {line}: {columns[stripped.index('')]} is empty; fill it or remove the line."
        raise DataError(msg)
    return Row(stripped[0], stripped[1], stripped[2] if len(stripped) > 2 else "")


def read_imglist(path: Path, setting: str) -> list[tuple[str, int]]:
    """Rows of an image list: path and integer label, separated by the last space (OpenOOD's format).

    Args:
        path: the file.
        setting: that names the file, for messages.

    Raises:
        DataError: the file is missing or a line is not of that form; names the line.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise _unreadable(path, setting, error) from error
    rows: list[tuple[str, int]] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        name, _, label = line.strip().rpartition(" ")
        if not name or not label.removeprefix("-").isdecimal():
            msg = f"{path}, line {number}: {line[:80]!r} is not 'path label' with a whole number as label (-1 is OOD)."
            raise DataError(msg)
        rows.append((name.strip(), int(label)))
    if not rows:
        msg = f"{path} lists no picture."
        raise DataError(msg)
    return rows


def _unreadable(path: Path, setting: str, error: Exception) -> DataError:
    reason = getattr(error, "strerror", None) or str(error)
    return DataError(f"{setting}: the list {path} cannot be read ({reason}); it must be a text file in UTF-8.")
