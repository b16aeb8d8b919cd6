"""Cells of a table: numbers with their spread, the best and the second best of a column, the paper's beside them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from negprompt.reports.collect import Statistic
from negprompt.reports.document import Better, Cell, Column, Mark, Row
from negprompt.reports.paper import Printed

NOTHING = Cell("–")


def percent(fraction: float) -> str:
    """As tables print it."""
    return f"{100 * fraction:.1f}"


def number_cell(
    value: Statistic, runs: tuple[str, ...], interval: tuple[float, float] | None = None, note: str = ""
) -> Cell:
    """Percent with the sample deviation over seeds, or with an interval over images where there is one seed."""
    text = percent(value.mean)
    if value.std is not None:
        text += f" ± {percent(value.std)}"
    elif interval is not None:
        text += f" [{percent(interval[0])}, {percent(interval[1])}]"
    return Cell(text, value.mean, runs=runs, note=note)


def paper_cells(value: Statistic | None, printed: Printed | None) -> tuple[Cell, Cell]:
    """The paper's number, and ours minus it."""
    if printed is None:
        return NOTHING, NOTHING
    theirs = Cell(f"{printed.value:.2f}", printed.value / 100, note=printed.note)
    if value is None:
        return theirs, NOTHING
    gap = 100 * value.mean - printed.value
    return theirs, Cell(f"{gap:+.1f}", gap / 100)


def seeds_cell(seeds: Sequence[int], wanted: Iterable[int]) -> Cell:
    """How many seeds a row rests on; those that other rows of its table have and it has not are named."""
    missing = sorted({*wanted} - {*seeds})
    text = f"{len(seeds)} ({', '.join(map(str, missing))} missing)" if missing else str(len(seeds))
    return Cell(text, len(seeds))


def marked(columns: Sequence[Column], rows: Sequence[Row]) -> tuple[Row, ...]:
    """Mark the best and the second best printed value of every column that says which way is better."""
    by_column = [_marks([row.cells[place] for row in rows], column.better) for place, column in enumerate(columns)]
    return tuple(
        row._replace(
            cells=tuple(cell._replace(mark=marks[i]) for cell, marks in zip(row.cells, by_column, strict=True))
        )
        for i, row in enumerate(rows)
    )


def _marks(cells: Sequence[Cell], better: Better) -> list[Mark]:
    values = [None if cell.value is None else float(percent(cell.value)) for cell in cells]
    ranked = sorted({value for value in values if value is not None}, reverse=better == "higher")
    if not better or len(ranked) < 2:
        return [""] * len(cells)
    names: dict[float, Mark] = {ranked[0]: "best"}
    if len(ranked) > 2:
        names[ranked[1]] = "second"
    return ["" if value is None else names.get(value, "") for value in values]
