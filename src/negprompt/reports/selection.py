"""Which rows stand in which table: those of the main setting, and those that change one thing about it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from negprompt.reports.collect import SummaryRow
from negprompt.reports.variants import same_method

HARD = "_hard_"


class Setting(NamedTuple):
    """What the rows of a main table have in common; `num_negatives` for methods that have negatives."""

    backbone: str
    num_shots: int | None
    num_negatives: int | None


def is_hard_split(benchmark: str) -> bool:
    """Whether a benchmark is one of several hard splits of another."""
    base, mark, number = benchmark.rpartition(HARD)
    return bool(base and mark and number.isdigit())


def base_of(benchmark: str) -> str:
    """The benchmark that hard splits are of."""
    return benchmark.rpartition(HARD)[0] if is_hard_split(benchmark) else benchmark


def main_setting(rows: Sequence[SummaryRow]) -> Setting:
    """The setting that most runs have; among equals the first."""
    return Setting(
        _most((row.backbone, row) for row in rows),
        _most((row.num_shots, row) for row in rows if row.num_shots),
        _most((row.num_negatives, row) for row in rows if row.num_negatives),
    )


def _most(values: Iterable[tuple[Any, SummaryRow]]) -> Any:  # noqa: ANN401 -- whatever the column holds
    counts: Counter[Any] = Counter()
    for value, row in values:
        counts[value] += len(row.seeds)
    return counts.most_common(1)[0][0] if counts else None


def has_setting(row: SummaryRow, setting: Setting) -> bool:
    """Whether a row belongs to the main tables; a method without shots or negatives is not asked for them."""
    return (
        row.backbone == setting.backbone
        and row.num_shots in (None, 0, setting.num_shots)
        and row.num_negatives in (None, 0, setting.num_negatives)
    )


class Change(NamedTuple):
    """One thing that is changed about the main setting: its name, and its value in a row, None where it has none."""

    name: str
    value: Callable[[SummaryRow], Any]


BACKBONE = Change("backbone", lambda row: row.backbone)
NEGATIVES = Change("negatives", lambda row: row.num_negatives or None)
SHOTS = Change("shots", lambda row: row.num_shots or None)
CLASSES = Change("classes", lambda row: row.class_fraction)
_FIELDS = {"backbone": BACKBONE, "num_shots": SHOTS, "num_negatives": NEGATIVES}


def changed(rows: Sequence[SummaryRow], setting: Setting, change: Change) -> list[SummaryRow]:
    """Rows of the main setting but for one thing, of methods for which that has at least two values.

    Where only some values have several rows of a method (its settings differ), the others stand beside the row with
    their own settings.

    Sorted by that value within a method and score; empty where nothing was varied.
    """
    fixed = [name for name, other in _FIELDS.items() if other is not change]
    alike = [
        row
        for row in rows
        if change.value(row) is not None
        and all(getattr(row, name) in (None, 0, getattr(setting, name)) for name in fixed)
        and (change is CLASSES or row.class_fraction == 1)
    ]
    kinds: dict[tuple[str, str, str], list[SummaryRow]] = {}
    for row in alike:
        kinds.setdefault((row.method, row.score, row.variant), []).append(row)
    for (method, score, variant), kind in kinds.items():
        if not variant:
            known = {change.value(row) for row in kind}
            others = [row for row in alike if (row.method, row.score) == (method, score) and row.variant]
            kind += [row for row in others if change.value(row) not in known and _same_settings(row, kind[0])]
    return [
        row
        for kind in kinds.values()
        if len({change.value(row) for row in kind}) > 1
        for row in sorted(kind, key=lambda one: (isinstance(change.value(one), str), change.value(one)))
    ]


def _same_settings(one: SummaryRow, other: SummaryRow) -> bool:
    return bool(one.runs and other.runs) and same_method(one.runs[0], other.runs[0])
