"""The terminal table of one run: readable at every width, means over groups and the full spectrum told apart."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import pytest
from rich.console import Console, RenderableType

from negprompt.reports.fitting import FittingTable
from negprompt.reports.tables import run_table

SETS = ("ssb_hard", "ninco", "inaturalist", "textures", "openimage_o", "places365")
GROUPS = {"near": ["ssb_hard", "ninco"], "far": ["inaturalist", "textures", "openimage_o", "places365"]}
SCORES = ("mcm", "msp", "max_logit", "energy", "negprompt")


def entries(sets: Sequence[str], shift: float = 0.0) -> dict[str, dict[str, float]]:
    """Another AUROC for each entry, so that each can be found in the table."""
    return {
        name: {
            "auroc": 0.8 + place / 1000 + shift,
            "fpr95_id_positive": 0.3 + place / 1000 + shift,
            "fpr95_ood_positive": 0.6 + place / 1000 + shift,
        }
        for place, name in enumerate(sets)
    }


def metrics(
    sets: Sequence[str] = SETS, groups: dict[str, list[str]] = GROUPS, scores: Sequence[str] = SCORES, **changes: Any
) -> dict[str, Any]:
    names = (*sets, *groups, "mean")
    return {
        "benchmark": "openood",
        "method": "negprompt",
        "backbone": "vit_b16_laion2b",
        "seed": 1,
        "num_shots": 16,
        "id_accuracy": 0.7349,
        "dropped_samples": 0,
        "scores": {score: entries(names, shift=place / 100) for place, score in enumerate(scores)},
        **({"groups": groups} if groups else {}),
    } | changes


def spectrum(**changes: Any) -> dict[str, Any]:
    names = (*SETS, *GROUPS, "mean")
    return {
        "sets": {"imagenet_v2": {"accuracy": 0.61, "n": 20}, "imagenet_r": {"accuracy": 0.7, "n": 25}},
        "id_accuracy": 0.6812,
        "n_id": 1045,
        "scores": {score: entries(names, shift=place / 100 - 0.1) for place, score in enumerate(SCORES)},
    } | changes


def rendered(table: RenderableType, width: int) -> list[str]:
    console = Console(width=width, file=io.StringIO(), record=True, color_system=None)
    console.print(table)
    return console.export_text().splitlines()


def words(lines: Sequence[str]) -> str:
    return " ".join(" ".join(lines).split())


@pytest.mark.parametrize("width", [40, 60, 80, 120, 200, 400])
@pytest.mark.parametrize("groups", [GROUPS, {}], ids=["groups", "no groups"])
def test_no_number_or_name_is_cut_at_any_width(width: int, groups: dict[str, list[str]]) -> None:
    content = metrics(groups=groups)
    lines = rendered(run_table(content), width)
    assert max(map(len, lines)) <= width
    assert "…" not in "".join(lines)
    for name in (*SETS, *groups, *SCORES):
        assert name in words(lines)
    for values in content["scores"].values():
        for entry in values.values():
            assert any(f"{100 * entry['auroc']:.1f}" in line for line in lines)


def test_a_wide_console_has_scores_as_rows_and_a_narrow_one_sets() -> None:
    wide, narrow = (rendered(run_table(metrics(scores=SCORES[:3])), width) for width in (200, 80))
    assert [line.split()[0] for line in wide if "/" in line][:3] == list(SCORES[:3])
    rows = [line.split()[0] for line in narrow if line.startswith(" ") and "/" in line]
    assert rows == [*SETS, "near", "far", "mean"]
    assert narrow[2].split() == ["OOD", "set", *SCORES[:3]]


def test_what_fits_in_no_direction_is_cut_in_tables_that_repeat_the_rows_names() -> None:
    lines = rendered(run_table(metrics()), 60)
    headers = [line.split()[2:] for line in lines if "OOD set" in line]
    assert [score for header in headers for score in header] == list(SCORES)
    assert len(headers) > 1
    assert sum("openimage_o  " in line for line in lines) == len(headers)


def test_title_and_notes_are_not_bound_to_the_tables_width() -> None:
    lines = rendered(run_table(metrics(sets=["a"], groups={}, scores=["mcm"])), 100)
    assert lines[0].rstrip() == "negprompt on openood (vit_b16_laion2b, 16 shots, seed 1): ID accuracy 73.5 %"
    assert lines[-2].startswith("Cells: AUROC / FPR95 in percent. FPR95: share of OOD accepted when at least 95 %")


def test_one_shot_is_singular() -> None:
    assert "(vit_b16_laion2b, 1 shot, seed 1)" in words(rendered(run_table(metrics(num_shots=1)), 100))
    assert "(vit_b16_laion2b, seed 1)" in words(rendered(run_table(metrics(num_shots=None)), 100))


def test_groups_bring_both_directions_of_fpr95_and_say_which_is_which() -> None:
    text = words(rendered(run_table(metrics(scores=["mcm"])), 80))
    assert "ninco 80.1/30.1/60.1" in text
    assert "near 80.6/30.6/60.6 far 80.7/30.7/60.7 mean 80.8/30.8/60.8" in text
    assert "AUROC/FPR95/FPR95ood in percent" in text
    assert "FPR95: share of OOD accepted when at least 95 % of ID is (fpr95_id_positive)" in text
    assert "FPR95ood: share of ID rejected when at least 95 % of OOD is (fpr95_ood_positive)" in text
    assert "near: mean over ssb_hard, ninco; far: mean over inaturalist, textures" in text


def test_a_set_called_near_is_a_set_where_no_group_is() -> None:
    table = run_table(metrics(sets=["near", "flags"], groups={}, scores=["mcm"]))
    text = words(rendered(table, 80))
    assert "score near flags mean" in text
    assert "mean over" not in text
    assert "FPR95ood" not in text


def test_the_full_spectrum_is_a_second_table_with_its_accuracies() -> None:
    text = words(rendered(run_table(metrics(full_spectrum=spectrum())), 80))
    title = "full spectrum: ID accuracy 68.1 % over 1045 pictures (imagenet_v2 61.0 %, imagenet_r 70.0 %)"
    first, second = text.split(title)
    assert "ninco 80.1/30.1/60.1" in first
    assert "ninco 70.1/20.1/50.1" in second
    assert text.count("Cells:") == 1


@pytest.mark.parametrize(("dropped", "said"), [(1, "1 damaged picture left out"), (3, "3 damaged pictures left out")])
def test_damaged_pictures_have_a_line_of_their_own_below_the_table(dropped: int, said: str) -> None:
    assert rendered(run_table(metrics(dropped_samples=dropped, full_spectrum=spectrum())), 80)[-1].strip() == said


def test_long_names_of_rows_are_folded_to_leave_room_for_numbers() -> None:
    long = "a_set_with_a_name_that_is_longer_than_the_console_is_wide_or_so"
    lines = rendered(run_table(metrics(sets=[long], groups={}, scores=["mcm", "msp"])), 40)
    assert max(map(len, lines)) <= 40
    assert words(lines).count("80.0 / 30.0") == 1
    assert "…" not in "".join(lines)


def test_a_table_without_alternative_is_cut_between_columns() -> None:
    table = FittingTable("title", ["note"], num_labels=1)
    for header in ("name", "first", "second"):
        table.add_column(header, no_wrap=header != "name")
    table.add_row("row", "1" * 12, "2" * 12)
    assert [line.split() for line in rendered(table, 40) if "row" in line] == [["row", "1" * 12, "2" * 12]]
    assert [line.split() for line in rendered(table, 24) if "row" in line] == [["row", "1" * 12], ["row", "2" * 12]]


def test_a_run_without_ood_pictures_has_its_accuracy_alone():
    lines = rendered(run_table(metrics((), {}, scores={}) | {"scores": {"mcm": {"mean": {}}}}), 120)
    text = "\n".join(lines)
    assert "negprompt on openood (vit_b16_laion2b, 16 shots, seed 1): ID accuracy 73.5 %" in text
    assert "No OOD picture was looked at (ood=none)" in text
    assert "AUROC /" not in text
