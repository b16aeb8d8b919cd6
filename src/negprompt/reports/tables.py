"""Results as tables: in the terminal, as markdown and as csv.

Tables print percent; csv keeps fractions. "FPR95" is `fpr95_id_positive` everywhere.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from rich import box
from rich.table import Table
from rich.text import Text

from negprompt.reports.collect import MEAN, Statistic, SummaryRow, split_settings

CAPTION = "FPR95: share of OOD accepted when at least 95 % of ID is (fpr95_id_positive); higher AUROC is better"
CSV_COLUMNS = (
    *("benchmark", "method", "backbone", "num_shots", "class_fraction", "num_negatives", "score", "num_seeds"),
    *("ood_set", "auroc_mean", "auroc_std", "fpr95_id_positive_mean", "fpr95_id_positive_std"),
    *("id_accuracy_mean", "id_accuracy_std"),
)


class _Cell(NamedTuple):
    text: str
    is_best: bool


class _Line(NamedTuple):
    """What is printed of one row: the same for the terminal and for markdown."""

    labels: tuple[str, ...]
    auroc: tuple[_Cell, ...]
    fpr95: tuple[_Cell, ...]
    id_accuracy: _Cell


class _Layout(NamedTuple):
    title: str
    label_names: tuple[str, ...]
    sets: tuple[str, ...]
    lines: tuple[_Line, ...]


def run_table(metrics: Mapping[str, Any]) -> Table:
    """Table of a single run.

    Args:
        metrics: the content of its metrics.json.

    Returns:
        Rows: scores; columns: OOD sets and their mean, each cell AUROC / FPR95 in percent; the title has the ID
        accuracy. The best value of a column is bold.
    """
    scores = metrics["scores"]
    sets = [*dict.fromkeys(name for values in scores.values() for name in values if name != MEAN), MEAN]
    shots = "" if metrics["num_shots"] is None else f", {metrics['num_shots']} shots"
    title = (
        f"{metrics['method']} on {metrics['benchmark']} ({metrics['backbone']}{shots}, seed {metrics['seed']}): "
        f"ID accuracy {_percent(metrics['id_accuracy'])} %"
    )
    dropped = metrics.get("dropped_samples", 0)
    note = f"; {dropped} damaged pictures left out" if dropped else ""
    table = _table(title, f"Cells: AUROC / FPR95 in percent. {CAPTION}{note}")
    for name in ("score", *sets):
        table.add_column(Text(name), justify="left" if name == "score" else "right", no_wrap=True)
    auroc, fpr95 = (
        [_mark_best([_percent(values[name][key]) for values in scores.values()], best) for name in sets]
        for key, best in (("auroc", max), ("fpr95_id_positive", min))
    )
    for i, score in enumerate(scores):
        cells = [_rich(a[i], " / ", f[i]) for a, f in zip(auroc, fpr95, strict=True)]
        table.add_row(Text(score), *cells)
    return table


def summary_tables(summary: Sequence[SummaryRow]) -> list[Table]:
    """Tables for the terminal, one for each benchmark and choice of OOD sets.

    Args:
        summary: rows of `negprompt.reports.collect.summary`.

    Returns:
        One row a method (below it the score), cells AUROC above FPR95 in percent, mean ± sample standard deviation
        over seeds. The best value of a column is bold.
    """
    tables = []
    for layout in _layouts(summary, plus_minus="±"):
        table = _table(layout.title, _caption(summary), gap=0, leading=1)
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


def to_markdown(summary: Sequence[SummaryRow]) -> str:
    """The same tables as markdown, each cell AUROC / FPR95.

    Args:
        summary: rows of `negprompt.reports.collect.summary`.
    """
    blocks = []
    for layout in _layouts(summary, plus_minus=" ± "):
        header = [*layout.label_names, *(f"{name} (AUROC / FPR95)" for name in layout.sets), "ID accuracy"]
        rules = [*("---" for _ in layout.label_names), *("---:" for _ in layout.sets), "---:"]
        rows = [header, rules]
        for line in layout.lines:
            cells = [f"{_bold(a)} / {_bold(f)}" for a, f in zip(line.auroc, line.fpr95, strict=True)]
            rows.append([*line.labels, *cells, _bold(line.id_accuracy)])
        table = "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows)
        blocks.append(f"**{layout.title}**\n\n{table}\n\n{_caption(summary)}.\n")
    return "\n".join(blocks)


def to_csv(summary: Iterable[SummaryRow]) -> str:
    """One line for each row and OOD set (their mean is the set "mean"), rates as fractions, unrounded.

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


def _layouts(summary: Sequence[SummaryRow], plus_minus: str) -> list[_Layout]:
    groups: dict[tuple[str, frozenset[str]], list[SummaryRow]] = {}
    for row in summary:
        groups.setdefault((row.benchmark, frozenset(row.ood_sets)), []).append(row)
    return [_layout(rows, plus_minus) for rows in groups.values()]


def _layout(rows: Sequence[SummaryRow], plus_minus: str) -> _Layout:
    sets = (*rows[0].ood_sets, MEAN)
    auroc = [_statistics([row.auroc[name] for row in rows], max, plus_minus) for name in sets]
    fpr95 = [_statistics([row.fpr95[name] for row in rows], min, plus_minus) for name in sets]
    id_accuracy = _statistics([row.id_accuracy for row in rows], max, plus_minus)
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


def _statistics(values: Sequence[Statistic], best: Callable[[Iterable[float]], float], plus_minus: str) -> list[_Cell]:
    cells = _mark_best([_percent(value.mean) for value in values], best)
    spreads = ["" if value.std is None else f"{plus_minus}{_percent(value.std)}" for value in values]
    return [cell._replace(text=cell.text + spread) for cell, spread in zip(cells, spreads, strict=True)]


def _mark_best(printed: Sequence[str], best: Callable[[Iterable[float]], float]) -> list[_Cell]:
    """Mark all values that print like the best one; a column of one value has no best."""
    winner = best(map(float, printed))
    return [_Cell(text, is_best=len(printed) > 1 and float(text) == winner) for text in printed]


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.1f}"


def _caption(rows: Iterable[SummaryRow]) -> str:
    has_spread = any(row.id_accuracy.std is not None for row in rows)
    return f"{CAPTION}; mean ± sample standard deviation over seeds" if has_spread else CAPTION


def _table(title: str, caption: str, *, gap: int = 1, leading: int = 0) -> Table:
    return Table(
        title=Text(title, style="bold"),
        caption=Text(caption),
        box=box.SIMPLE_HEAD,
        padding=(0, gap, 0, 0),
        leading=leading,
        title_justify="left",
        caption_justify="left",
    )


def _rich(*parts: _Cell | str) -> Text:
    return Text.assemble(*(p if isinstance(p, str) else (p.text, "bold" if p.is_best else "") for p in parts))


def _bold(cell: _Cell) -> str:
    return f"**{cell.text}**" if cell.is_best else cell.text
