from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.reports.summary_rows import COOP, MCM, NEGPROMPT, made_up

from negprompt.reports.collect import SummaryRow
from negprompt.reports.further import ablation_table, cost_table, difference_table
from negprompt.reports.selection import Setting, main_setting
from negprompt.reports.standard import Choice

CHOICE = Choice(Setting("tiny_rn", 8, 2), False, lambda _: None)


def test_the_main_setting_is_what_most_runs_have() -> None:
    other = made_up("negprompt", "negprompt", {1: 0.8}, num_negatives=5, backbone="tiny_vit", num_shots=1)
    assert main_setting([other, MCM, COOP, NEGPROMPT]) == Setting("tiny_rn", 8, 2)
    assert main_setting([MCM._replace(num_shots=0)]) == Setting("tiny_rn", None, None)


def test_an_ablation_changes_one_thing_and_shows_the_unchanged_beside_it() -> None:
    rows = [
        made_up("negprompt", "negprompt", {1: 0.85, 2: 0.85, 3: 0.85}, num_negatives=5),
        NEGPROMPT,
        made_up("negprompt", "negprompt", {1: 0.7}, num_negatives=1),
        made_up("negprompt", "negprompt", {1: 0.6}, num_negatives=1, num_shots=4),  # two things at once
        made_up("one_stage", "negprompt", {1: 0.75}),
        made_up("coop", "mcm", {1: 0.65}, class_fraction=0.1),
        COOP,
        MCM,
    ]
    table = ablation_table("icons", rows, CHOICE)
    assert table is not None
    assert [(row.group, *(cell.text for cell in row.cells[:2])) for row in table.rows] == [
        ("negatives a class", "NegPrompt", "1"),
        ("negatives a class", "NegPrompt", "2"),
        ("negatives a class", "NegPrompt", "5"),
        ("one stage or two", "NegPrompt, one stage", "one"),
        ("one stage or two", "NegPrompt", "two"),
        ("share of the classes learned on", "CoOp", "10 %"),
        ("share of the classes learned on", "CoOp", "100 %"),
    ]
    mean = [column.name + column.head for column in table.columns].index("AUROCmean")
    assert [row.cells[mean].mark for row in table.rows] == ["", "best", "second", "", "best", "", "best"]
    assert table.rows[0].cells[-1].text == "1 (2, 3 missing)"


def test_of_several_settings_the_same_stand_beside_another_backbone(tmp_path: Path) -> None:
    def coop(name: str, lr: float | None, **changes: Any) -> SummaryRow:
        (tmp_path / name).mkdir()
        if lr is not None:
            (tmp_path / name / "config.yaml").write_text(f"method: {{name: coop, optimizer: {{lr: {lr}}}}}")
        return made_up("coop", "mcm", {1: 0.8}, **({"runs": (str(tmp_path / name),)} | changes))

    rows = [
        coop("a", 0.1, variant="stage 1 of one"),
        coop("b", 0.2, variant="stage 1 of another"),
        coop("vit", 0.2, backbone="tiny_vit"),
    ]
    table = ablation_table("icons", rows, CHOICE)
    assert table is not None
    assert [[cell.text for cell in row.cells[:2]] for row in table.rows] == [
        ["CoOp (stage 1 of another)", "tiny_rn"],
        ["CoOp", "tiny_vit"],
    ]
    unknown = coop("lost", None, backbone="tiny_vit")
    assert ablation_table("icons", [*rows[:2], unknown], CHOICE) is None


def test_without_anything_varied_there_is_no_ablation() -> None:
    assert ablation_table("icons", [MCM, COOP, NEGPROMPT], CHOICE) is None


def test_differences_are_paired_over_common_seeds_against_the_best_learned_system() -> None:
    table = difference_table("icons", [MCM, COOP, NEGPROMPT], CHOICE)
    assert table is not None
    assert table.title.startswith("NegPrompt minus every other system")
    ((system, gap, interval, p_value, *_),) = [row.cells for row in table.rows]  # MCM has one seed
    assert system.text == "CoOp"
    # Gaps 5, 6, 7: mean 6, standard error 1 / sqrt 3, t(2; 0.975) = 4.302653.
    assert gap.text == "+6.0"
    assert interval.text == f"{6 - 4.302653 / 3**0.5:+.1f} to {6 + 4.302653 / 3**0.5:+.1f}"
    assert p_value.text == "0.009"
    assert difference_table("icons", [MCM, COOP], CHOICE) is None


def test_cost_is_what_runs_recorded_and_rows_without_a_record_are_left_out(tmp_path: Path) -> None:
    runs = []
    for seed, seconds in ((1, 10.0), (2, 20.0)):
        folder = tmp_path / str(seed)
        folder.mkdir()
        kept = {
            "seconds": {"training": seconds, "evaluation": 1.5},
            "device": "cpu",
            "peak_memory_bytes": {"process": 2e9},
        }
        (folder / "provenance.json").write_text(json.dumps(kept))
        (folder / "metrics.json").write_text('{"steps": 220}')
        runs.append(str(folder))
    table = cost_table("icons", [MCM, made_up("coop", "mcm", {1: 0.8, 2: 0.8}, runs=tuple(runs))], CHOICE)
    assert table is not None
    ((system, *numbers),) = [[cell.text for cell in row.cells] for row in table.rows]
    assert (system, *numbers) == ("CoOp", "15", "220", "1.5", "2.00", "80.0 ± 0.0", "cpu")
    assert cost_table("icons", [MCM], CHOICE) is None
