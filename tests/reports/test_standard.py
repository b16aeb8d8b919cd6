from __future__ import annotations

import pytest
from tests.reports.summary_rows import COOP, MCM, NEGPROMPT, made_up

from negprompt.reports.document import Cell, Table
from negprompt.reports.selection import Setting
from negprompt.reports.standard import Choice, accuracy_table, hard_table, ood_table

CHOICE = Choice(Setting("tiny_rn", 8, 2), False, lambda _: (0.78, 0.82))


def cell(table: Table, system: str, name: str, head: str = "") -> Cell:
    (place,) = [i for i, column in enumerate(table.columns) if (column.name, column.head) == (name, head)]
    (row,) = [row for row in table.rows if row.cells[0].text == system]
    return row.cells[place]


def test_systems_stand_in_the_papers_order_and_groups_whatever_the_order_of_the_runs() -> None:
    rows = [
        NEGPROMPT,
        made_up("coop", "mcm", {1: 0.8}, class_fraction=0.1),
        COOP,
        made_up("mine", "mcm", {1: 0.7}),
        MCM,
    ]
    table = ood_table("icons", rows, CHOICE)
    assert [(row.group, row.cells[0].text) for row in table.rows] == [
        ("hand-written prompts", "MCM"),
        ("learned prompts", "CoOp"),
        ("learned prompts", "NegPrompt"),
        ("learned on a part of the classes", "CoOp (10%)"),
        ("other scores and methods", "mine: mcm"),
    ]


def test_a_cell_has_mean_and_spread_its_runs_and_its_place_in_the_column() -> None:
    table = ood_table("icons", [MCM, COOP, NEGPROMPT], CHOICE)
    best = cell(table, "NegPrompt", "AUROC", "mean")
    assert (best.text, best.mark, best.runs) == ("88.0 ± 2.0", "best", NEGPROMPT.runs)
    assert cell(table, "CoOp", "AUROC", "near").text == "77.0 ± 1.0"
    assert cell(table, "CoOp", "FPR95", "mean").mark == "second"
    assert cell(table, "NegPrompt", "FPR95", "flags").text == "27.0 ± 2.0"


def test_one_seed_shows_an_interval_over_pictures_and_says_which_seeds_are_missing() -> None:
    table = ood_table("icons", [MCM, COOP], CHOICE)
    assert cell(table, "MCM", "AUROC", "mean").text == "80.0 [78.0, 82.0]"
    assert cell(table, "MCM", "AUROC", "near").text == "75.0"
    assert cell(table, "MCM", "seeds").text == "1 (2, 3 missing)"
    assert cell(table, "CoOp", "seeds").text == "3"


def test_runs_of_another_setting_are_left_to_other_tables() -> None:
    one = made_up("negprompt", "negprompt", {1: 0.99}, num_negatives=5)
    other = made_up("coop", "mcm", {1: 0.99}, backbone="tiny_vit")
    assert len(ood_table("icons", [MCM, COOP, NEGPROMPT, one, other], CHOICE).rows) == 3


def test_settings_that_no_other_column_shows_get_one() -> None:
    rows = [made_up("coop", "mcm", {1: 0.8}, variant=f"optimizer.lr={rate}") for rate in (0.1, 0.2)]
    table = ood_table("icons", rows, CHOICE)
    assert [row.cells[1].text for row in table.rows] == ["optimizer.lr=0.1", "optimizer.lr=0.2"]
    assert table.labels == 2


def test_the_papers_number_and_the_difference_stand_beside_ours_with_a_footnote_where_it_contradicts_itself() -> None:
    areas = dict.fromkeys(("iNaturalist", "SUN", "Places", "Texture", "mean"), COOP.auroc["near"])
    row = COOP._replace(benchmark="imagenet_1k", auroc=areas, fpr95=areas)
    table = ood_table(
        "imagenet_1k", [row, NEGPROMPT._replace(auroc=areas, fpr95=areas)], CHOICE._replace(with_paper=True)
    )
    theirs = cell(table, "CoOp", "FPR95, paper", "mean")
    assert theirs.text == "51.68"
    assert "38.94" in theirs.note
    assert cell(table, "CoOp", "FPR95, difference", "mean").text == f"{77 - 51.68:+.1f}"
    assert cell(table, "NegPrompt", "AUROC, paper", "iNaturalist").text == "98.73"
    assert all("paper" not in column.name for column in ood_table("imagenet_1k", [row], CHOICE).columns)


def test_hard_splits_stand_beside_each_other_and_their_mean_is_taken_seed_by_seed() -> None:
    rows = [
        made_up("coop", "mcm", {1: 0.80, 2: 0.90}, benchmark="icons_hard_1"),
        made_up("coop", "mcm", {2: 0.80, 1: 0.90, 3: 0.5}, benchmark="icons_hard_2"),
        MCM._replace(benchmark="icons_hard_1"),
        MCM,
    ]
    table = hard_table("icons", rows, CHOICE)
    assert cell(table, "CoOp", "AUROC", "Split-1").text == "85.0 ± 7.1"
    assert cell(table, "CoOp", "AUROC", "mean").text == "85.0 ± 0.0"  # both seeds have 85 over the splits
    assert cell(table, "CoOp", "seeds").text == "2 (3 missing)"
    assert cell(table, "MCM", "AUROC", "Split-2").text == "–"
    assert cell(table, "MCM", "AUROC", "mean").text == "–"


def test_accuracy_has_one_row_a_method_and_one_column_a_benchmark() -> None:
    rows = [MCM, MCM._replace(score="energy"), COOP, COOP._replace(benchmark="icons_hard_1")]
    table = accuracy_table(rows, CHOICE)
    assert [[one.text for one in row.cells] for row in table.rows] == [
        ["zero_shot", "70.0", "–"],
        ["coop", "70.0 ± 1.0", "70.0 ± 1.0"],
    ]


@pytest.mark.parametrize("rows", [[MCM], [MCM, MCM._replace(method="coop")]])
def test_a_column_without_a_difference_has_no_best(rows: list) -> None:
    assert {one.mark for row in ood_table("icons", rows, CHOICE).rows for one in row.cells} == {""}
