"""Tables for consoles of any width."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich import box
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

_UNBOUNDED = 100_000


class FittingTable(Table):
    """A table that a narrow console cuts between columns, never within a number.

    Title and notes are lines of their own: a narrow table does not wrap them.

    Args:
        title: above the table.
        notes: below it, a line each.
        num_labels: leading columns that say what a row is; they may be folded, and stand in every part.
        alternative: the same content with rows and columns exchanged, taken where this one would be cut.
        gap: blanks right of a column, besides the one between columns.
        leading: blank lines between rows.
    """

    def __init__(
        self,
        title: str,
        notes: Sequence[str] = (),
        *,
        num_labels: int = 1,
        alternative: FittingTable | None = None,
        gap: int = 1,
        leading: int = 0,
    ) -> None:
        super().__init__(box=box.SIMPLE_HEAD, padding=(0, gap, 0, 0), leading=leading)
        self._heading = Text(title, style="bold")
        self._notes = [Text(note) for note in notes]
        self._num_labels = num_labels
        self._alternative = alternative

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield self._heading
        parts = list(self._parts(console, options))
        if len(parts) > 1 and self._alternative is not None:
            parts = list(self._alternative._parts(console, options))
        yield from parts
        yield from self._notes

    def _parts(self, console: Console, options: ConsoleOptions) -> Iterator[Table]:
        """As few tables as have room for whole columns, at least one column each."""
        labels, columns = range(self._num_labels), list(range(self._num_labels, len(self.columns)))
        unbounded = options.update_width(_UNBOUNDED)
        # Both sums count an edge that the joined table has once.
        room = options.max_width + 1 - Measurement.get(console, unbounded, self._part(labels)).minimum
        while columns:
            count = len(columns)
            while count > 1 and Measurement.get(console, unbounded, self._part(columns[:count])).maximum > room:
                count -= 1
            yield self._part([*labels, *columns[:count]])
            columns = columns[count:]

    def _part(self, places: Sequence[int]) -> Table:
        """A plain table of some of the columns."""
        columns = [self.columns[place] for place in places]
        part = Table(box=self.box, padding=self.padding, leading=self.leading)
        for column in columns:
            part.add_column(column.header, justify=column.justify, overflow=column.overflow, no_wrap=column.no_wrap)
        for cells in zip(*(column.cells for column in columns), strict=True):
            part.add_row(*cells)
        return part
