"""A table as markdown, csv and LaTeX."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from itertools import groupby

from negprompt.reports.document import Cell, Column, Row, Table

_LATEX = str.maketrans(
    {
        **{mark: f"\\{mark}" for mark in "&%$#_{}"},
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "±": r"$\pm$",
        "–": "--",
    }
)


def to_markdown(table: Table) -> str:
    """A title, the table, its caption and footnotes; best bold, second best in italics, groups as lines."""
    notes = footnotes(table)
    heads = [f"{column.head} {column.name}".strip() for column in table.columns]
    lines = [_line(heads), _line(["---"] * table.labels + ["---:"] * (len(heads) - table.labels))]
    for group, rows in groupby(table.rows, key=lambda row: row.group):
        if group:
            lines.append(_line([f"*{_escaped(group)}*"] + [""] * (len(heads) - 1)))
        lines += [_line([_markdown(cell, notes) for cell in row.cells]) for row in rows]
    below = [table.caption + " Best in bold, second best in italics.", *(f"[{n}] {text}." for text, n in notes.items())]
    return "\n".join([f"**{table.title}**", "", *lines, "", "  \n".join(below), ""])


def to_csv(table: Table) -> str:
    """One line a row; numbers as fractions, unrounded where a cell has a value."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["group", *(f"{column.head} {column.name}".strip() for column in table.columns)])
    for row in table.rows:
        words = [cell.text for cell in row.cells[: table.labels]]
        values = ["" if cell.value is None else repr(cell.value) for cell in row.cells[table.labels :]]
        texts = [cell.text for cell in row.cells[table.labels :]]
        writer.writerow([row.group, *words, *(value or _word(text) for value, text in zip(values, texts, strict=True))])
    return file.getvalue()


def to_latex(table: Table) -> str:
    r"""A `table*` with booktabs' rules; needs \usepackage{booktabs} and, for wide tables, \usepackage{graphicx}."""
    notes = footnotes(table)
    width = len(table.columns)
    lines = [
        r"\begin{table*}",
        r"\centering",
        rf"\caption{{{_tex(table.title)}. {_tex(table.caption)} Best in bold, second best underlined.}}",
        rf"\label{{tab:{table.key.replace('_', '-')}}}",
        r"\resizebox{\linewidth}{!}{%",
        rf"\begin{{tabular}}{{{'l' * table.labels}{'r' * (width - table.labels)}}}",
        r"\toprule",
        *_latex_heads(table.columns),
        r"\midrule",
    ]
    for number, (group, rows) in enumerate(groupby(table.rows, key=lambda row: row.group)):
        if number:
            lines.append(r"\midrule")
        if group:
            lines.append(rf"\multicolumn{{{width}}}{{l}}{{\emph{{{_tex(group)}}}}} \\")
        lines += [_latex_row(row, notes) for row in rows]
    lines += [r"\bottomrule", r"\end{tabular}}"]
    lines += [rf"\par\footnotesize $^{{{number}}}$ {_tex(text)}." for text, number in notes.items()]
    return "\n".join([*lines, r"\end{table*}", ""])


def footnotes(table: Table) -> dict[str, int]:
    """Notes of a table's cells with their numbers, in the order of reading."""
    texts = dict.fromkeys(cell.note for row in table.rows for cell in row.cells if cell.note)
    return {text: number for number, text in enumerate(texts, start=1)}


def _latex_heads(columns: Sequence[Column]) -> Iterator[str]:
    spans = [(head, len(list(members))) for head, members in groupby(columns, key=lambda column: column.head)]
    if any(head for head, _ in spans):
        yield " & ".join(rf"\multicolumn{{{count}}}{{c}}{{{_tex(head)}}}" for head, count in spans) + r" \\"
        rules, start = [], 1
        for head, count in spans:
            if head:
                rules.append(rf"\cmidrule(lr){{{start}-{start + count - 1}}}")
            start += count
        yield "".join(rules)
    yield " & ".join(_tex(column.name) for column in columns) + r" \\"


def _latex_row(row: Row, notes: dict[str, int]) -> str:
    marks = {"best": r"\textbf{%s}", "second": r"\underline{%s}", "": "%s"}
    cells = []
    for cell in row.cells:
        note = f"$^{{{notes[cell.note]}}}$" if cell.note else ""
        cells.append(marks[cell.mark] % _tex(cell.text) + note)
    return " & ".join(cells) + r" \\"


def _markdown(cell: Cell, notes: dict[str, int]) -> str:
    marks = {"best": "**", "second": "*", "": ""}
    note = f" [{notes[cell.note]}]" if cell.note else ""
    return f"{marks[cell.mark]}{_escaped(cell.text)}{marks[cell.mark]}{note}"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")


def _tex(text: str) -> str:
    return text.translate(_LATEX)


def _word(text: str) -> str:
    return "" if text == "–" else text
