"""What a report says, before it becomes markdown, csv, LaTeX or a page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

Mark = Literal["", "best", "second"]
Better = Literal["higher", "lower", ""]


class Cell(NamedTuple):
    """One number or word of a table.

    `text`: as printed, with its spread. `value`: what it is sorted by, None for words and empty cells. `mark`: its
    place in its column. `runs`: keys into `Report.runs`, the runs behind it. `note`: a footnote below the table.
    """

    text: str
    value: float | None = None
    mark: Mark = ""
    runs: tuple[str, ...] = ()
    note: str = ""


class Column(NamedTuple):
    """A column: its name, and that of the columns beside it under one head (an OOD set), "" where it stands alone."""

    name: str
    head: str = ""
    better: Better = ""


class Row(NamedTuple):
    """Cells of one row, and the group it stands in (the paper's "zero-shot methods"), "" for none."""

    cells: tuple[Cell, ...]
    group: str = ""


class Table(NamedTuple):
    """A table; its first `labels` columns are words that say what a row is.

    `key` is its file's name, for example "table2_conventional"; `caption` says which direction of FPR is meant.
    """

    key: str
    title: str
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    labels: int = 1


class Plot(NamedTuple):
    """A figure: vector for the page and for print, pixels for everywhere else; `description` for who cannot see it."""

    key: str
    title: str
    caption: str
    description: str
    svg: bytes
    png: bytes


class Mistake(NamedTuple):
    """A picture that a run's score gets wrong.

    `kind`: an ID picture scored lowest, or an OOD picture scored highest. `data_set`: where it is from; `label`: its
    class, "" for OOD pictures without one. `rank`: its place in the set, 1 for the worst. `positive`, `negative`: class
    of the nearest prompt of either kind, "" where a run has no such prompts.
    """

    kind: Literal["id", "ood"]
    data_set: str
    key: str
    label: str
    score: float
    rank: int
    positive: str
    negative: str
    png: bytes


class Mistakes(NamedTuple):
    """The hardest pictures of one run; `threshold` keeps 95 % of its ID pictures."""

    run: str
    score: str
    threshold: float
    pictures: tuple[Mistake, ...]


class Words(NamedTuple):
    """A learned prompt made readable.

    `prompt`: "positive", "negative 1", ... `words`: for each context vector the nearest entries of the token table
    with their cosines, nearest first. `drift`: for each vector, its distance from where it started over the length it
    started with, None where that is not known. `nearest_classes`: for a negative prompt, class names whose positive
    prompts its own are nearest to, with cosines.
    """

    run: str
    prompt: str
    words: tuple[tuple[tuple[str, float], ...], ...]
    drift: tuple[float | None, ...]
    nearest_classes: tuple[tuple[str, float], ...]


class RunNote(NamedTuple):
    """A run behind a number: how it was made, and how it is made again.

    `key` is unique in a report: benchmark/method/backbone/folder. `settings`, `results`: names and printed values.
    """

    key: str
    folder: str
    command: str
    settings: Mapping[str, str]
    results: Mapping[str, str]


class Report(NamedTuple):
    """All of it. `summary`: sentences that say what was run on what. `main`: key of the table that comes first.

    `skipped`: folders that were left out, with the reason.
    """

    title: str
    summary: tuple[str, ...]
    main: str
    tables: tuple[Table, ...]
    plots: tuple[Plot, ...] = ()
    mistakes: tuple[Mistakes, ...] = ()
    words: tuple[Words, ...] = ()
    runs: tuple[RunNote, ...] = ()
    skipped: tuple[tuple[str, str], ...] = ()
