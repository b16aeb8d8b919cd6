"""The paper's tables from rows of any benchmark: OOD sets (Table 2), hard splits (Table 3), accuracy (Table 4)."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from negprompt.reports import paper
from negprompt.reports.cells import NOTHING, marked, number_cell, paper_cells, seeds_cell
from negprompt.reports.collect import MEAN, Statistic, SummaryRow, statistic
from negprompt.reports.document import Cell, Column, Row, Table
from negprompt.reports.paper import Rate
from negprompt.reports.selection import HARD, Setting, base_of, has_setting, is_hard_split
from negprompt.reports.systems import in_order, place_of

CAPTION = (
    "AUROC and FPR95 in percent. FPR95 is the share of OOD pictures that are accepted where at least 95 % of ID "
    "pictures are (fpr95_id_positive); lower is better. Mean ± sample standard deviation over seeds; in brackets the "
    "95 % bootstrap interval over the pictures of one seed."
)
RATES: tuple[Rate, Rate] = ("auroc", "fpr95")
_PAPERS_ID = "imagenet_1k"
_HEADS = {"auroc": ("AUROC", "higher"), "fpr95": ("FPR95", "lower")}
Intervals = Callable[[SummaryRow], tuple[float, float] | None]


class Choice(NamedTuple):
    """What all tables of a report share.

    `setting`: of the main tables. `with_paper`: whether the paper's numbers stand beside ours. `interval`: bootstrap
    interval of the mean AUROC of a row with one seed.
    """

    setting: Setting
    with_paper: bool
    interval: Intervals


def ood_table(benchmark: str, rows: Sequence[SummaryRow], choice: Choice) -> Table:
    """Every OOD set of a benchmark, their mean, ID accuracy (Table 2).

    Args:
        benchmark: its name.
        rows: with the same OOD sets.
        choice: of the report.
    """
    chosen = in_order([row for row in rows if has_setting(row, choice.setting)])
    sets = (*chosen[0].ood_sets, *chosen[0].groups, MEAN)
    with_paper = choice.with_paper and benchmark == _PAPERS_ID
    columns, lines = _labels(chosen), []
    for name in sets:
        columns += _rate_columns(name, with_paper)
    columns += [Column("ID accuracy", "", "higher"), Column("seeds")]
    wanted = {seed for row in chosen for seed in row.seeds}
    for row in chosen:
        cells = _label_cells(row, columns)
        for name in sets:
            data_set = paper.MEAN if name == MEAN else name
            interval = choice.interval(row) if name == MEAN and len(row.seeds) == 1 else None
            values = {"auroc": row.auroc[name], "fpr95": row.fpr95[name]}
            cells += _rate_cells(values, ("2", place_of(row).paper, data_set), row.runs, with_paper, interval)
        cells += [number_cell(row.id_accuracy, row.runs), seeds_cell(row.seeds, wanted)]
        lines.append(Row(tuple(cells), place_of(row).group))
    title = f"OOD sets of {benchmark}{setting_text(choice.setting)}"
    return Table(f"table2_{benchmark}", title, CAPTION, tuple(columns), marked(columns, lines), _count(columns))


def hard_table(base: str, rows: Sequence[SummaryRow], choice: Choice) -> Table:
    """All hard splits of a benchmark and their mean (Table 3)."""
    splits_of_base = [row for row in rows if is_hard_split(row.benchmark) and base_of(row.benchmark) == base]
    chosen = [row for row in splits_of_base if has_setting(row, choice.setting)]
    splits = sorted({row.benchmark for row in chosen})
    systems: dict[tuple[str, str, str], dict[str, SummaryRow]] = {}
    for row in in_order(chosen):
        place = place_of(row)
        systems.setdefault((place.group, place.name, row.variant), {})[row.benchmark] = row
    with_paper = choice.with_paper and base in ("imagenet", _PAPERS_ID)
    columns, lines = _labels(chosen), []
    for split in (*splits, MEAN):
        columns += _rate_columns(_split_name(split), with_paper)
    columns.append(Column("seeds"))
    wanted = {seed for row in chosen for seed in row.seeds}
    for (group, _, _), found in systems.items():
        first = next(iter(found.values()))
        cells, source = _label_cells(first, columns), place_of(first).paper
        for split in splits:
            one = found.get(split)
            values = None if one is None else {"auroc": one.auroc[MEAN], "fpr95": one.fpr95[MEAN]}
            cells += _rate_cells(values, ("3", source, _split_name(split)), () if one is None else one.runs, with_paper)
        over = mean_over([found[split] for split in splits]) if len(found) == len(splits) else None
        every_run = tuple(run for row in found.values() for run in row.runs)
        cells += _rate_cells(over, ("3", source, paper.MEAN), every_run, with_paper)
        common = set.intersection(*({*row.seeds} for row in found.values()))
        lines.append(Row((*cells, seeds_cell(sorted(common), wanted)), group))
    title = f"Hard splits of {base}{setting_text(choice.setting)}"
    return Table(f"table3_{base}", title, CAPTION, tuple(columns), marked(columns, lines), _count(columns))


def accuracy_table(rows: Sequence[SummaryRow], choice: Choice) -> Table:
    """ID accuracy of every method on every benchmark (Table 4); scores of the same prompts share it."""
    chosen = in_order([row for row in rows if has_setting(row, choice.setting)])
    benchmarks = list(dict.fromkeys(row.benchmark for row in chosen))
    found: dict[tuple[str, str], dict[str, SummaryRow]] = {}
    for row in chosen:
        part = "" if row.class_fraction == 1 else f" ({100 * row.class_fraction:g}%)"
        found.setdefault((f"{row.method}{part}", row.variant), {}).setdefault(row.benchmark, row)
    with_paper = choice.with_paper and _PAPERS_ID in benchmarks
    columns = [Column("method"), *([Column("settings")] if any(variant for _, variant in found) else [])]
    labels = len(columns)
    columns += [Column(name, "", "higher") for name in benchmarks]
    columns += [Column("paper", _PAPERS_ID), Column("difference", _PAPERS_ID)] if with_paper else []
    lines = []
    for (method, variant), by_name in found.items():
        cells = [Cell(method), Cell(variant)][:labels]
        for name in benchmarks:
            one = by_name.get(name)
            cells.append(NOTHING if one is None else number_cell(one.id_accuracy, one.runs))
        if with_paper:
            one = by_name.get(_PAPERS_ID)
            theirs = None if one is None else paper.accuracy(place_of(one).paper)
            ours = None if one is None else one.id_accuracy
            cells += paper_cells(ours, None if theirs is None else paper.Printed(theirs))
        lines.append(Row(tuple(cells)))
    caption = "Accuracy on ID test pictures in percent; prompts and not scores decide it."
    title = f"ID accuracy{setting_text(choice.setting)}"
    return Table("table4_accuracy", title, caption, tuple(columns), marked(columns, lines), labels)


def mean_over(rows: Sequence[SummaryRow]) -> dict[str, Statistic] | None:
    """Mean of several benchmarks' means, over the seeds that all of them have; None where there is no such seed."""
    common = sorted(set.intersection(*({*row.seeds} for row in rows)))
    if not common:
        return None
    return {
        rate: statistic([statistics.fmean(row.by_seed[seed][rate] for row in rows) for seed in common])
        for rate in RATES
    }


def setting_text(setting: Setting) -> str:
    """Backbone, shots and negatives for a title."""
    parts = [setting.backbone]
    if setting.num_shots:
        parts.append(f"{setting.num_shots} shots")
    if setting.num_negatives:
        parts.append(f"{setting.num_negatives} negative{'s' * (setting.num_negatives > 1)} a class")
    return f" ({', '.join(parts)})"


def _labels(rows: Sequence[SummaryRow]) -> list[Column]:
    return [Column("system"), *([Column("settings")] if any(row.variant for row in rows) else [])]


def _label_cells(row: SummaryRow, columns: Sequence[Column]) -> list[Cell]:
    return [Cell(place_of(row).name), Cell(row.variant)][: _count(columns)]


def _count(columns: Sequence[Column]) -> int:
    return sum(column.name in ("system", "settings") and not column.head for column in columns)


def _split_name(benchmark: str) -> str:
    return MEAN if benchmark == MEAN else f"Split-{benchmark.rpartition(HARD)[2]}"


def _rate_columns(head: str, with_paper: bool) -> list[Column]:
    columns = []
    for rate in RATES:
        name, better = _HEADS[rate]
        columns.append(Column(name, head, "higher" if better == "higher" else "lower"))
        if with_paper:
            columns += [Column(f"{name}, paper", head), Column(f"{name}, difference", head)]
    return columns


def _rate_cells(
    values: Mapping[str, Statistic] | None,
    source: tuple[str, str, str],
    runs: tuple[str, ...],
    with_paper: bool,
    interval: tuple[float, float] | None = None,
) -> list[Cell]:
    """AUROC and FPR95 of one OOD set; `source`: table, system and data set of the paper's number."""
    cells: list[Cell] = []
    for rate in RATES:
        value = None if values is None else values[rate]
        between = interval if rate == "auroc" else None
        cells.append(NOTHING if value is None else number_cell(value, runs, between))
        if with_paper:
            cells += paper_cells(value, paper.printed(*source, rate))
    return cells


def splits_into(benchmarks: Sequence[str]) -> tuple[list[str], list[str]]:
    """Benchmarks with a table of their own, and those that have hard splits."""
    own = [name for name in dict.fromkeys(benchmarks) if not is_hard_split(name)]
    hard = list(dict.fromkeys(base_of(name) for name in benchmarks if is_hard_split(name)))
    return own, hard
