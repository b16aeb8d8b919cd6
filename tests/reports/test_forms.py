from __future__ import annotations

import csv
import io

from negprompt.reports.document import Cell, Column, Row, Table
from negprompt.reports.forms import footnotes, to_csv, to_latex, to_markdown

TABLE = Table(
    key="table2_icons",
    title="OOD sets of my_set",
    caption="FPR95 is lower, 95 % of ID.",
    columns=(Column("system"), Column("AUROC", "near", "higher"), Column("FPR95", "near", "lower"), Column("seeds")),
    rows=(
        Row((Cell("a|b"), Cell("80.0 ± 1.0", 0.8, "best"), Cell("–"), Cell("3", 3)), "zero-shot"),
        Row(
            (Cell("c_d"), Cell("70.0", 0.7, "second", note="printed 71"), Cell("5.0", 0.05), Cell("1 (2 missing)", 1)),
            "learned",
        ),
    ),
)


def test_markdown_has_groups_marks_footnotes_and_escapes_bars() -> None:
    assert to_markdown(TABLE).splitlines() == [
        "**OOD sets of my_set**",
        "",
        "| system | near AUROC | near FPR95 | seeds |",
        "| --- | ---: | ---: | ---: |",
        "| *zero-shot* |  |  |  |",
        "| a\\|b | **80.0 ± 1.0** | – | 3 |",
        "| *learned* |  |  |  |",
        "| c_d | *70.0* [1] | 5.0 | 1 (2 missing) |",
        "",
        "FPR95 is lower, 95 % of ID. Best in bold, second best in italics.  ",
        "[1] printed 71.",
    ]


def test_csv_keeps_unrounded_values_and_leaves_empty_what_is_missing() -> None:
    rows = list(csv.DictReader(io.StringIO(to_csv(TABLE))))
    assert rows[0] == {"group": "zero-shot", "system": "a|b", "near AUROC": "0.8", "near FPR95": "", "seeds": "3"}
    assert rows[1]["near FPR95"] == "0.05"


def test_latex_escapes_spans_heads_and_marks_best_and_second() -> None:
    text = to_latex(TABLE)
    assert r"\multicolumn{2}{c}{near}" in text
    assert r"\cmidrule(lr){2-3}" in text
    assert r"a|b & \textbf{80.0 $\pm$ 1.0} & -- & 3 \\" in text
    assert r"c\_d & \underline{70.0}$^{1}$ & 5.0 & 1 (2 missing) \\" in text
    assert r"95 \% of ID" in text
    assert r"\label{tab:table2-icons}" in text
    assert text.count("{") == text.count("}")
    assert all(
        text.count(rf"\begin{{{name}}}") == text.count(rf"\end{{{name}}}") == 1 for name in ("table*", "tabular")
    )


def test_equal_footnotes_share_a_number() -> None:
    twice = TABLE._replace(rows=(*TABLE.rows, TABLE.rows[1], Row((Cell("e", note="other"),))))
    assert footnotes(twice) == {"printed 71": 1, "other": 2}
