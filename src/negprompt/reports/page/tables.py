"""A table of the report as rows of HTML: spans of its heads, groups of its rows, numbers of its footnotes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

from negprompt.reports.document import Better, Cell, Column, Mark, Row, Table
from negprompt.reports.page.links import Links

_TALL, _WIDE, _HUGE = 24, 10, 18
"""Rows from which on a table scrolls by itself; columns from which on it is printed across, and smaller."""
_SPREADS = (" ± ", " [")
"""What follows a value and is no part of it: a deviation over seeds, an interval over pictures."""


class CellView(NamedTuple):
    """A cell: its text, its spread apart, what it is sorted by ("" for words), and where it leads.

    `runs`: how many runs are behind it. `note`: number of its footnote, 0 for none.
    """

    text: str
    spread: str
    value: str
    mark: Mark
    target: str
    runs: int
    note: int


class HeadView(NamedTuple):
    """A name above `span` columns; "" above columns that stand alone."""

    name: str
    span: int


class ColumnView(NamedTuple):
    """A column: with its head before its name where that says more, and whether it holds numbers."""

    name: str
    head: str
    better: Better
    numeric: bool
    label: bool


class GroupView(NamedTuple):
    """Rows that stand together under a name, "" for none."""

    name: str
    rows: list[list[CellView]]


class TableView(NamedTuple):
    """All that the template asks of a table."""

    id: str
    title: str
    caption: str
    heads: list[HeadView]
    columns: list[ColumnView]
    groups: list[GroupView]
    notes: list[str]
    size: str
    linked: bool
    marks: set[Mark]

    @property
    def slug(self) -> str:
        """Its id without the kind, for the ids of its parts."""
        return self.id.partition("-")[2]

    @property
    def num_rows(self) -> int:
        """Rows over all groups."""
        return sum(len(group.rows) for group in self.groups)


def view(table: Table, links: Links) -> TableView:
    """Make a table ready for the template.

    Args:
        table: of the report.
        links: of the same report.

    Raises:
        ValueError: a row has not as many cells as the table has columns.
    """
    for row in table.rows:
        if len(row.cells) != len(table.columns):
            message = f"The table {table.key!r} has {len(table.columns)} columns and a row of {len(row.cells)} cells."
            raise ValueError(message)
    notes = list(dict.fromkeys(cell.note for row in table.rows for cell in row.cells if cell.note))
    numbers = {note: number for number, note in enumerate(notes, start=1)}
    groups = [
        GroupView(name, [[_cell(cell, links, numbers) for cell in row.cells] for row in rows])
        for name, rows in itertools.groupby(table.rows, key=lambda row: row.group)
    ]
    return TableView(
        links.tables[table.key].id,
        table.title,
        table.caption,
        _heads(table.columns),
        [_column(table, place) for place in range(len(table.columns))],
        groups,
        notes,
        _size(table.rows, table.columns),
        any(cell.runs for row in table.rows for cell in row.cells),
        {cell.mark for row in table.rows for cell in row.cells} - {""},
    )


def _cell(cell: Cell, links: Links, numbers: dict[str, int]) -> CellView:
    target, runs = links.to(cell.runs)
    text, spread = cell.text, ""
    if cell.value is not None:
        start = min((place for mark in _SPREADS if (place := text.find(mark)) > 0), default=len(text))
        text, spread = text[:start], text[start:]
    return CellView(text, spread, _value(cell.value), cell.mark, target, runs, numbers.get(cell.note, 0))


def _value(value: float | None) -> str:
    """As JavaScript reads it; a cell that is no number sorts with the empty ones."""
    if value is None or math.isnan(value):
        return ""
    return repr(float(value)).replace("inf", "Infinity")


def _heads(columns: Sequence[Column]) -> list[HeadView]:
    """Names over neighbours that share one; a column without a head stands alone."""
    heads: list[HeadView] = []
    for name, below in itertools.groupby(columns, key=lambda column: column.head):
        number = len(list(below))
        heads.extend([HeadView(name, number)] if name else [HeadView("", 1)] * number)
    return heads if any(head.name for head in heads) else []


def _column(table: Table, place: int) -> ColumnView:
    column = table.columns[place]
    numeric = any(_value(row.cells[place].value) for row in table.rows)
    return ColumnView(column.name, column.head, column.better, numeric, place < table.labels)


def _size(rows: Sequence[Row], columns: Sequence[Column]) -> str:
    """Words for the style sheet: what does not fit a screen or a sheet of paper."""
    names = ["tall"] if len(rows) > _TALL else []
    names += ["wide"] if len(columns) > _WIDE else []
    names += ["huge"] if len(columns) > _HUGE else []
    return " ".join(names)
