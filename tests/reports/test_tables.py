from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from typing import Any

import pytest
from rich.console import Console
from rich.table import Table
from rich.text import Text
from tests.reports.summary_rows import row

from negprompt.reports.collect import Statistic, SummaryRow
from negprompt.reports.tables import run_table, summary_tables, to_csv

CAPTION = "FPR95: share of OOD accepted when at least 95 % of ID is (fpr95_id_positive); higher AUROC is better"


def near(method: str, area: float, rate: float, *, std: float | None = 0.004, **changes: Any) -> SummaryRow:
    """One row on the set `near`, 0.01 below the mean."""
    filled: dict[str, Any] = {
        "id_accuracy": Statistic(0.75, std),
        "auroc": {"near": Statistic(area, std), "mean": Statistic(area + 0.01, std)},
        "fpr95": {"near": Statistic(rate, std), "mean": Statistic(rate + 0.01, std)},
    }
    return row(method, **(filled | changes))


ROWS = [near("coop", 0.8114, 0.5), near("negprompt", 0.8512, 0.41, score="negprompt", num_negatives=2)]


def rendered(table: Table, width: int = 80) -> list[str]:
    console = Console(width=width, file=io.StringIO(), record=True, color_system=None)
    console.print(table)
    return console.export_text().splitlines()


def bold_parts(table: Table) -> set[str]:
    texts = [cell for column in table.columns for cell in column.cells if isinstance(cell, Text)]
    assert not any(text.style for text in texts)  # a style of the whole cell would reach both numbers
    return {text.plain[span.start : span.end] for text in texts for span in text.spans if span.style == "bold"}


def test_terminal_table_prints_percent_with_one_decimal_and_the_spread() -> None:
    (table,) = summary_tables(ROWS)
    lines = rendered(table)
    assert [line.split() for line in lines if line.strip().startswith("coop")] == [
        ["coop", "AUROC", "81.1±0.4", "82.1±0.4", "75.0±0.4"]
    ]
    assert [line.split() for line in lines if line.strip().startswith("mcm")] == [
        ["mcm", "FPR95", "50.0±0.4", "51.0±0.4"]
    ]
    words = " ".join(" ".join(lines).split())
    assert words.startswith("icons, backbone tiny_rn, shots 8, classes 100 %, negatives 2, seeds 1, 2, 3 ")
    assert CAPTION in words


def test_the_best_value_of_each_column_is_bold_low_fpr95_and_high_auroc() -> None:
    (table,) = summary_tables(ROWS)
    assert bold_parts(table) >= {"85.1±0.4", "86.1±0.4", "41.0±0.4", "42.0±0.4"}
    assert not bold_parts(table) & {"81.1±0.4", "82.1±0.4", "50.0±0.4", "51.0±0.4"}


def test_values_that_print_alike_are_both_best() -> None:
    (table,) = summary_tables([near("a", 0.81141, 0.5, std=None), near("b", 0.81139, 0.6, std=None)])
    assert "81.1" in bold_parts(table)
    assert "50.0" in bold_parts(table)
    assert "60.0" not in bold_parts(table)


def test_a_single_row_has_no_best() -> None:
    assert bold_parts(summary_tables(ROWS[:1])[0]) == set()


def test_four_ood_sets_with_spread_fit_eighty_columns_without_a_cut_number() -> None:
    names = ("near", "symbols", "logos", "flags", "mean")
    values = {name: Statistic(0.8771, 0.0123) for name in names}
    wide = [near(method, 0, 0, auroc=values, fpr95=values, score="negprompt") for method in ("a", "negprompt_paper")]
    lines = rendered(summary_tables(wide)[0])
    assert max(map(len, lines)) <= 80
    assert sum(line.count("87.7±1.2") for line in lines) == 20
    assert "…" not in "".join(lines)


def test_many_sets_are_cut_in_tables_that_repeat_what_a_row_is() -> None:
    names = ("ssb_hard", "ninco", "inaturalist", "textures", "openimage_o", "near", "far", "mean")
    values = {name: Statistic(0.8771, 0.0123) for name in names}
    lines = rendered(summary_tables([near("coop", 0, 0, auroc=values, fpr95=values, groups=("near", "far"))])[0])
    assert max(map(len, lines)) <= 80
    assert sum(line.count("87.7±1.2") for line in lines) == 16
    assert sum(line.strip().startswith("coop") for line in lines) == 2
    assert "…" not in "".join(lines)


def test_means_over_groups_stand_before_the_mean_in_every_format() -> None:
    values = {name: Statistic(0.8, None) for name in ("far", "one", "mean")}
    rows = [near("coop", 0, 0, std=None, auroc=values, fpr95=values, groups=("far",)), ROWS[0]]
    grouped, plain = summary_tables(rows)
    assert [str(column.header) for column in grouped.columns][2:] == ["one", "far", "mean", "ID acc."]
    assert [str(column.header) for column in plain.columns][2:] == ["near", "mean", "ID acc."]


def test_settings_that_differ_become_columns() -> None:
    (table,) = summary_tables([ROWS[0], near("coop", 0.79, 0.6, class_fraction=0.1, seeds=(1,))])
    headers = [str(column.header) for column in table.columns]
    assert headers == ["method\nscore", "classes", "seeds", "", "near", "mean", "ID acc."]
    assert "10 %" in "\n".join(rendered(table, width=100))


def test_other_ood_sets_make_a_table_of_their_own() -> None:
    other = near("coop", 0.8, 0.5, auroc={"mean": Statistic(0.8, None)}, fpr95={"mean": Statistic(0.5, None)})
    assert len(summary_tables([*ROWS, other, near("coop", 0.8, 0.5, benchmark="icons_hard_1")])) == 3


def test_csv_keeps_unrounded_fractions_one_line_an_ood_set() -> None:
    records = list(csv.DictReader(io.StringIO(to_csv([*ROWS, near("one", 0.7, 0.6, std=None, seeds=(0,))]))))
    assert len(records) == 6
    first = records[0]
    assert (first["method"], first["ood_set"], first["num_seeds"], first["num_negatives"]) == ("coop", "near", "3", "")
    assert float(first["auroc_mean"]) == 0.8114
    assert float(first["fpr95_id_positive_mean"]) == 0.5
    assert float(first["id_accuracy_std"]) == 0.004
    assert records[-1]["auroc_std"] == ""


def run(scores: Mapping[str, tuple[float, float]], **changes: Any) -> dict[str, Any]:
    return {
        "benchmark": "icons",
        "method": "negprompt",
        "backbone": "tiny_rn",
        "seed": 1,
        "num_shots": 8,
        "id_accuracy": 0.7349,
        "dropped_samples": 0,
        "scores": {
            name: {set_: {"auroc": auroc, "fpr95_id_positive": fpr95} for set_ in ("near", "flags", "mean")}
            for name, (auroc, fpr95) in scores.items()
        },
    } | changes


def test_run_table_has_a_row_a_score_and_the_accuracy_in_its_title() -> None:
    table = run_table(run({"negprompt": (0.85, 0.4), "mcm": (0.8, 0.3)}))
    lines = rendered(table, width=120)
    words = " ".join(" ".join(lines).split())
    assert words.startswith("negprompt on icons (tiny_rn, 8 shots, seed 1): ID accuracy 73.5 % ")
    assert CAPTION in words
    assert [str(column.header) for column in table.columns] == ["score", "near", "flags", "mean"]
    assert [" ".join(line.split()) for line in lines if "/" in line][:2] == [
        "negprompt 85.0 / 40.0 85.0 / 40.0 85.0 / 40.0",
        "mcm 80.0 / 30.0 80.0 / 30.0 80.0 / 30.0",
    ]
    assert bold_parts(table) == {"85.0", "30.0"}


@pytest.mark.parametrize(("dropped", "said"), [(0, False), (3, True)])
def test_damaged_pictures_are_counted_under_the_table(dropped: int, *, said: bool) -> None:
    text = " ".join(rendered(run_table(run({"mcm": (0.8, 0.3)}, dropped_samples=dropped)), width=200))
    assert ("3 damaged pictures left out" in " ".join(text.split())) is said


def test_brackets_in_names_are_printed_as_they_are() -> None:
    lines = rendered(run_table(run({"[bold]odd[/bold]": (0.8, 0.3)}, benchmark="[red]mine")), width=120)
    assert "[red]mine" in lines[0]
    assert any("[bold]odd[/bold]" in line for line in lines)
