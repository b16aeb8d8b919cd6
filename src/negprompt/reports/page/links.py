"""Where a page's numbers lead: an id for each part, and the runs behind each number."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from negprompt.reports.document import Report, Row, Table


class Ids:
    """Hands out ids of HTML elements: readable, and no two alike."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def new(self, kind: str, name: str) -> str:
        """Make an id of letters, digits and hyphens that was not given before.

        Example:
            >>> ids = Ids()
            >>> ids.new("run", "icons/coop"), ids.new("run", "Icons coop"), ids.new("run", "±")
            ('run-icons-coop', 'run-icons-coop-2', 'run-x')
        """
        stem = f"{kind}-{re.sub(r'[^a-z0-9]+', '-', name.lower()).strip('-') or 'x'}"
        chosen, number = stem, 1
        while chosen in self._taken:
            number += 1
            chosen = f"{stem}-{number}"
        self._taken.add(chosen)
        return chosen


class Place(NamedTuple):
    """A part of the page: its id and what it is called."""

    id: str
    name: str


class RunSet(NamedTuple):
    """Several runs whose results make one number: `name` says which row of which table showed it first."""

    id: str
    name: str
    runs: tuple[Place, ...]


class Links:
    """The ids of tables and runs, and which run stands behind which table.

    Args:
        report: what the page shows.

    Raises:
        ValueError: a number names a run that the report does not hold, or two parts of a kind share a key.
    """

    def __init__(self, report: Report) -> None:
        self._ids = Ids()
        for kind, keys in (
            ("tables", [table.key for table in report.tables]),
            ("figures", [plot.key for plot in report.plots]),
            ("runs", [note.key for note in report.runs]),
        ):
            _refuse_twins(kind, keys)
        self.tables = {table.key: Place(self._ids.new("table", table.key), table.title) for table in report.tables}
        self.runs = {note.key: Place(self._ids.new("run", note.key), note.key) for note in report.runs}
        self._sets: dict[tuple[str, ...], RunSet] = {}
        self._uses: dict[str, dict[str, Place]] = {note.key: {} for note in report.runs}
        for table in report.tables:
            for row in table.rows:
                self._register(table, row)

    @property
    def sets(self) -> list[RunSet]:
        """Every group of several runs that makes a number, in the order of the tables."""
        return list(self._sets.values())

    def id(self, kind: str, name: str) -> str:
        """Make a new id for any other part of the page."""
        return self._ids.new(kind, name)

    def to(self, runs: Iterable[str]) -> tuple[str, int]:
        """Find the id that stands for these runs, and how many they are: ("", 0) for none."""
        keys = tuple(dict.fromkeys(runs))
        if not keys:
            return "", 0
        place = self.runs[keys[0]] if len(keys) == 1 else self._sets[keys]
        return place.id, len(keys)

    def run(self, key: str) -> Place:
        """Find a run by its key; one that the report has no note of has a name and no id."""
        return self.runs.get(key, Place("", key))

    def uses(self, key: str) -> list[Place]:
        """List the tables that show a number of this run."""
        return list(self._uses[key].values())

    def _register(self, table: Table, row: Row) -> None:
        name = " ".join(cell.text for cell in row.cells[: table.labels] if cell.text)
        for cell in row.cells:
            keys = tuple(dict.fromkeys(cell.runs))
            for key in keys:
                if key not in self.runs:
                    message = f"The table {table.key!r} cites the run {key!r}, which the report's runs do not hold."
                    raise ValueError(message)
                self._uses[key][table.key] = self.tables[table.key]
            if len(keys) > 1 and keys not in self._sets:
                places = tuple(self.runs[key] for key in keys)
                title = f"{name}, {table.title}" if name else table.title
                self._sets[keys] = RunSet(self._ids.new("runs", str(len(self._sets) + 1)), title, places)


def _refuse_twins(kind: str, keys: list[str]) -> None:
    twins = sorted({key for key in keys if keys.count(key) > 1}) if len(set(keys)) < len(keys) else []
    if twins:
        message = f"Two {kind} of the report share the key {twins[0]!r}: each key is a file's or a run's own."
        raise ValueError(message)
