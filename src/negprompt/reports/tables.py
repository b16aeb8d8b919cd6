"""Results as tables in the terminal, and as one csv.

Tables print percent; csv keeps fractions. "FPR95" is `fpr95_id_positive` everywhere.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from rich.console import Group
from rich.text import Text

from negprompt.reports.collect import MEAN, Statistic, SummaryRow, ood_sets, split_settings
from negprompt.reports.fitting import FittingTable

CAPTION = "FPR95: share of OOD accepted when at least 95 % of ID is (fpr95_id_positive); higher AUROC is better"
_OOD_POSITIVE = (
    "FPR95ood: share of ID rejected when at least 95 % of OOD is (fpr95_ood_positive), which OpenOOD reports as FPR95"
)
CSV_COLUMNS = (
    *("benchmark", "method", "backbone", "num_shots", "class_fraction", "num_negatives", "score", "num_seeds"),
    *("ood_set", "auroc_mean", "auroc_std", "fpr95_id_positive_mean", "fpr95_id_positive_std"),
    *("id_accuracy_mean", "id_accuracy_std"),
)


_Best = Callable[[Iterable[float]], float]


class _Rate(NamedTuple):
    """A metric in metrics.json and what chooses its best value."""

    key: str
    best: _Best


_RATES = (_Rate("auroc", max), _Rate("fpr95_id_positive", min), _Rate("fpr95_ood_positive", min))


class _Cell(NamedTuple):
    text: str
    is_best: bool


class _Line(NamedTuple):
    """What is printed of one row."""

    labels: tuple[str, ...]
    auroc: tuple[_Cell, ...]
    fpr95: tuple[_Cell, ...]
    id_accuracy: _Cell


class _Layout(NamedTuple):
    title: str
    label_names: tuple[str, ...]
    sets: tuple[str, ...]
    lines: tuple[_Line, ...]


def run_table(metrics: Mapping[str, Any]) -> FittingTable | Group:
    """Table of a single run.

    Args:
        metrics: the content of its metrics.json.

    Returns:
        Rows: scores; columns: OOD sets and their means, or the other way round where the console is narrow. Each cell
        is AUROC / FPR95 in percent, for benchmarks with groups of sets both directions of FPR95; the title has the ID
        accuracy. The best value of a column is bold. Covariate-shifted ID sets make a second table.
    """
    shots = "" if metrics["num_shots"] is None else f", {_counted(metrics['num_shots'], 'shot')}"
    title = (
        f"{metrics['method']} on {metrics['benchmark']} ({metrics['backbone']}{shots}, seed {metrics['seed']}): "
        f"ID accuracy {_percent(metrics['id_accuracy'])} %"
    )
    if not ood_sets(metrics):
        note = "No OOD picture was looked at (ood=none), so there is no AUROC"
        return Group(Text(title, style="bold"), Text(note))
    groups = metrics.get("groups", {})
    names = [*ood_sets(metrics), *groups, MEAN]
    rates = _RATES if groups else _RATES[:2]
    notes = _run_notes(metrics)
    if "full_spectrum" not in metrics:
        return _scores_table(title, metrics["scores"], names, rates, notes)
    enlarged = metrics["full_spectrum"]
    accuracies = ", ".join(f"{name} {_percent(one['accuracy'])} %" for name, one in enlarged["sets"].items())
    second_title = (
        f"full spectrum: ID accuracy {_percent(enlarged['id_accuracy'])} % over {enlarged['n_id']} pictures "
        f"({accuracies})"
    )
    return Group(
        _scores_table(title, metrics["scores"], names, rates),
        _scores_table(second_title, enlarged["scores"], names, rates, notes),
    )


def _run_notes(metrics: Mapping[str, Any]) -> list[str]:
    groups, dropped = metrics.get("groups", {}), metrics.get("dropped_samples", 0)
    if groups:
        means = [f"{name}: mean over {', '.join(members)}" for name, members in groups.items()]
        notes = [
            f"Cells: AUROC/FPR95/FPR95ood in percent. {CAPTION}; {_OOD_POSITIVE}",
            f"{'; '.join(means)}; {MEAN}: over all sets",
        ]
    else:
        notes = [f"Cells: AUROC / FPR95 in percent. {CAPTION}"]
    return [*notes, f"{_counted(dropped, 'damaged picture')} left out"] if dropped else notes


def _scores_table(
    title: str, scores: Mapping[str, Any], names: Sequence[str], rates: Sequence[_Rate], notes: Sequence[str] = ()
) -> FittingTable:
    """Rows of scores and columns of sets and means; where these do not fit, rows of sets and columns of scores."""
    separator = " / " if len(rates) < 3 else "/"
    by_name = []
    for name in names:
        columns = [_mark_best([_percent(values[name][key]) for values in scores.values()], best) for key, best in rates]
        by_name.append([_rich(*_interleaved(cells, separator)) for cells in zip(*columns, strict=True)])
    by_score = list(zip(*by_name, strict=True))
    table = FittingTable(
        title, notes, alternative=_filled(FittingTable(title, notes), "OOD set", scores, names, by_name)
    )
    return _filled(table, "score", names, list(scores), by_score)


def _filled(
    table: FittingTable, corner: str, headers: Iterable[str], labels: Sequence[str], rows: Sequence[Sequence[Text]]
) -> FittingTable:
    table.add_column(corner, overflow="fold")
    for header in headers:
        table.add_column(Text(header), justify="right", no_wrap=True)
    for label, cells in zip(labels, rows, strict=True):
        table.add_row(Text(label), *cells)
    return table


def _interleaved(cells: Sequence[_Cell], separator: str) -> list[_Cell | str]:
    first, *others = cells
    return [first, *(part for cell in others for part in (separator, cell))]


def summary_tables(summary: Sequence[SummaryRow]) -> list[FittingTable]:
    """Tables for the terminal, one for each benchmark and choice of OOD sets.

    Args:
        summary: rows of `negprompt.reports.collect.summary`.

    Returns:
        One row a method (below it the score), cells AUROC above FPR95 in percent, mean ± sample standard deviation
        over seeds. The best value of a column is bold.
    """
    tables = []
    for layout in _layouts(summary):
        num_labels = len(layout.label_names)  # method and score share a column, the last says which metric
        table = FittingTable(layout.title, [_caption(summary)], num_labels=num_labels, gap=0, leading=1)
        table.add_column("method\nscore", overflow="fold")
        for name in layout.label_names[1:-1]:
            table.add_column(Text(name), overflow="fold")
        table.add_column("")
        for name in (*layout.sets, "ID acc."):
            table.add_column(Text(name), justify="right", no_wrap=True)
        for line in layout.lines:
            method, *labels, score = line.labels
            cells = [_rich(a, "\n", f) for a, f in zip(line.auroc, line.fpr95, strict=True)]
            first = Text(f"{method}\n{score}")
            table.add_row(first, *map(Text, labels), "AUROC\nFPR95", *cells, _rich(line.id_accuracy))
        tables.append(table)
    return tables


def to_csv(summary: Iterable[SummaryRow]) -> str:
    """One line for each row and OOD set (means over sets go by their names), rates as fractions, unrounded.

    Args:
        summary: rows of `negprompt.reports.collect.summary`.
    """
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for row in summary:
        for name in row.auroc:
            group = (row.benchmark, row.method, row.backbone, row.num_shots, row.class_fraction, row.num_negatives)
            writer.writerow(
                [*group, row.score, len(row.seeds), name, *row.auroc[name], *row.fpr95[name], *row.id_accuracy]
            )
    return file.getvalue()


def _layouts(summary: Sequence[SummaryRow]) -> list[_Layout]:
    tables: dict[tuple[object, ...], list[SummaryRow]] = {}
    for row in summary:
        tables.setdefault((row.benchmark, frozenset(row.ood_sets), frozenset(row.groups)), []).append(row)
    return [_layout(rows) for rows in tables.values()]


def _layout(rows: Sequence[SummaryRow]) -> _Layout:
    sets = (*rows[0].ood_sets, *rows[0].groups, MEAN)
    auroc = [_statistics([row.auroc[name] for row in rows], max) for name in sets]
    fpr95 = [_statistics([row.fpr95[name] for row in rows], min) for name in sets]
    id_accuracy = _statistics([row.id_accuracy for row in rows], max)
    shared, differing = split_settings(rows)
    title = ", ".join([rows[0].benchmark, *(f"{name} {value}" for name, value in shared.items())])
    labels = {"method": [row.method for row in rows]} | differing | {"score": [row.score for row in rows]}
    lines = tuple(
        _Line(
            labels=tuple(column[i] for column in labels.values()),
            auroc=tuple(column[i] for column in auroc),
            fpr95=tuple(column[i] for column in fpr95),
            id_accuracy=id_accuracy[i],
        )
        for i in range(len(rows))
    )
    return _Layout(title, tuple(labels), sets, lines)


def _statistics(values: Sequence[Statistic], best: _Best) -> list[_Cell]:
    cells = _mark_best([_percent(value.mean) for value in values], best)
    spreads = ["" if value.std is None else f"±{_percent(value.std)}" for value in values]
    return [cell._replace(text=cell.text + spread) for cell, spread in zip(cells, spreads, strict=True)]


def _mark_best(printed: Sequence[str], best: _Best) -> list[_Cell]:
    """Mark all values that print like the best one; a column of one value has no best."""
    winner = best(map(float, printed))
    return [_Cell(text, is_best=len(printed) > 1 and float(text) == winner) for text in printed]


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.1f}"


def _counted(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def _caption(rows: Iterable[SummaryRow]) -> str:
    has_spread = any(row.id_accuracy.std is not None for row in rows)
    return f"{CAPTION}; mean ± sample standard deviation over seeds" if has_spread else CAPTION


def _rich(*parts: _Cell | str) -> Text:
    return Text.assemble(*(p if isinstance(p, str) else (p.text, "bold" if p.is_best else "") for p in parts))
