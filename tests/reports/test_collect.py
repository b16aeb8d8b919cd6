from __future__ import annotations

import json
import logging
import statistics
from pathlib import Path
from typing import Any

import pytest
import yaml

from negprompt.errors import RunError
from negprompt.reports.collect import check_comparable, collect, split_settings, summary

SETS = ("near", "flags")


def metrics(seed: int = 1, auroc: float = 0.8, **changes: Any) -> dict[str, Any]:
    """A metrics.json of one score `mcm`; `near` lies 0.1 below `flags`, FPR95 is 1.2 - AUROC."""
    values = {"near": auroc - 0.05, "flags": auroc + 0.05, "mean": auroc}
    rates = {name: {"auroc": value, "fpr95_id_positive": 1.2 - value} for name, value in values.items()}
    return {
        "schema": 1,
        "benchmark": "icons",
        "method": "coop",
        "backbone": "tiny_rn",
        "seed": seed,
        "num_shots": 8,
        "class_fraction": 1.0,
        "num_negatives": None,
        "split_sha256": f"{seed:064x}",
        "class_names_sha256": "c" * 64,
        "weights_sha256": "a" * 64,
        "id_accuracy": 0.7 + seed / 100,
        "scores": {"mcm": rates},
    } | changes


def write(folder: Path, content: dict[str, Any], *, done: bool = True) -> Path:
    folder.mkdir(parents=True)
    (folder / "metrics.json").write_text(json.dumps(content))
    if done:
        (folder / "DONE").touch()
    return folder


def configured(folder: Path, **content: Any) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(content))


# collect


def test_folders_that_are_left_out_are_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path / "good", metrics())
    (write(tmp_path / "empty", {}) / "metrics.json").unlink()
    with caplog.at_level(logging.WARNING):
        assert len(collect(tmp_path)) == 1
    assert f"Left out: {tmp_path / 'empty'} is marked DONE but has no metrics.json" in caplog.text


def test_other_weights_under_one_backbone_are_refused_naming_both_folders(tmp_path: Path) -> None:
    write(tmp_path / "a", metrics(1))
    write(tmp_path / "b", metrics(2, benchmark="icons_val", weights_sha256="f" * 64))
    with pytest.raises(RunError, match=r"weights_sha256 differs: \S+/a has \w+, \S+/b has ffffffff"):
        collect(tmp_path)


def test_other_class_names_under_one_benchmark_are_refused_naming_both_folders(tmp_path: Path) -> None:
    write(tmp_path / "a", metrics(1))
    write(tmp_path / "b", metrics(2, class_names_sha256="d" * 64))
    with pytest.raises(RunError, match=r"class_names_sha256 differs: \S+/a has cccccccc, \S+/b has dddddddd"):
        collect(tmp_path)


def test_other_pictures_for_the_same_seed_are_refused_naming_both_folders(tmp_path: Path) -> None:
    write(tmp_path / "a", metrics(1))
    write(tmp_path / "b", metrics(1, method="negprompt", split_sha256="e" * 64))
    with pytest.raises(RunError, match=r"split_sha256 differs: \S+/a .* \S+/b"):
        collect(tmp_path)


@pytest.mark.parametrize("change", [{"seed": 2}, {"num_shots": 4}, {"class_fraction": 0.1}, {"benchmark": "icons_val"}])
def test_pictures_may_differ_where_the_draw_does(change: dict[str, Any]) -> None:
    check_comparable([metrics(1), metrics(1) | {"split_sha256": "e" * 64} | change])


def test_pictures_may_differ_where_other_ood_sets_were_chosen() -> None:
    other = metrics(1, split_sha256="e" * 64)
    del other["scores"]["mcm"]["near"]
    check_comparable([metrics(1), other])


# summary


def test_mean_and_sample_deviation_over_seeds() -> None:
    values = {1: 0.80, 2: 0.83, 3: 0.88}
    (row,) = summary([metrics(seed, auroc) for seed, auroc in values.items()])
    assert row.seeds == (1, 2, 3)
    assert row.ood_sets == SETS
    assert list(row.auroc) == [*SETS, "mean"]
    assert row.auroc["mean"].mean == pytest.approx(2.51 / 3, abs=1e-12)
    assert row.auroc["mean"].std == pytest.approx(statistics.stdev(values.values()), abs=1e-12)
    assert row.auroc["near"].mean == pytest.approx(2.51 / 3 - 0.05, abs=1e-12)
    assert row.fpr95["flags"].mean == pytest.approx(1.15 - 2.51 / 3, abs=1e-12)
    assert row.id_accuracy.mean == pytest.approx(0.72, abs=1e-12)
    assert row.id_accuracy.std == pytest.approx(0.01, abs=1e-12)


def test_one_seed_has_no_deviation_and_seed_zero_counts() -> None:
    (row,) = summary([metrics(0)])
    assert row.seeds == (0,)
    assert row.auroc["mean"] == (0.8, None)


@pytest.mark.parametrize(
    "change",
    [
        {"method": "zero_shot"},
        {"backbone": "tiny_vit"},
        {"num_shots": 4},
        {"class_fraction": 0.1},
        {"num_negatives": 2},
        {"benchmark": "icons_val"},
        {"scores": {"msp": metrics()["scores"]["mcm"]}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_a_column_shows_makes_a_row_of_its_own(change: dict[str, Any]) -> None:
    rows = summary([metrics(1), metrics(2), metrics(1) | change])
    assert [row.seeds for row in rows] == [(1, 2), (1,)]


def test_each_score_of_a_run_gets_a_row() -> None:
    run = metrics()
    run["scores"]["energy"] = run["scores"]["mcm"]
    assert [row.score for row in summary([run])] == ["mcm", "energy"]


def test_two_equal_runs_of_one_seed_are_refused_naming_both(tmp_path: Path) -> None:
    rows = [metrics(1) | {"run": str(tmp_path / name)} for name in ("first", "second")]
    for row in rows:
        configured(Path(row["run"]), method={"optimizer": {"lr": 0.1}})
    with pytest.raises(RunError, match=r"seed 1 and the same settings: \S+/first and \S+/second"):
        summary(rows)


def test_runs_of_one_seed_that_differ_in_a_setting_make_rows_named_by_it(tmp_path: Path) -> None:
    rows = []
    for seed in (1, 2):
        for rate in (0.1, 0.2):
            folder = tmp_path / f"{seed}-{rate}"
            configured(
                folder, seed=seed, method={"optimizer": {"lr": rate, "epochs": 3}}, paths={"runs_dir": str(folder)}
            )
            rows.append(metrics(seed, 0.8 + rate / 10) | {"run": str(folder)})
    found = summary(rows)
    assert [(row.variant, row.seeds) for row in found] == [("optimizer.lr=0.1", (1, 2)), ("optimizer.lr=0.2", (1, 2))]
    assert found[1].auroc["mean"].mean == pytest.approx(0.82, abs=1e-12)
    assert found[1].runs == (str(tmp_path / "1-0.2"), str(tmp_path / "2-0.2"))
    assert found[1].by_seed[2] == pytest.approx({"auroc": 0.82, "fpr95": 0.38})


def test_first_stages_of_different_methods_are_called_that(tmp_path: Path) -> None:
    rows = []
    for name, rate, methods in (("seed1-a", 0.1, ("negprompt", "negprompt_paper")), ("seed1-b", 0.2, ("official",))):
        configured(tmp_path / name, method={"optimizer": {"lr": rate}})
        rows.append(metrics(1, 0.7 + rate) | {"run": str(tmp_path / name)})
        rows += [metrics(1, 0.9, method=method, positive_prompts=name) for method in methods]
    found = [(row.method, row.variant) for row in summary(rows)]
    assert found[:2] == [("coop", "stage 1 of negprompt, negprompt_paper"), ("coop", "stage 1 of official")]
    assert {variant for _, variant in found[2:]} == {""}


def test_runs_that_differ_in_their_other_scores_only_are_one() -> None:
    more = metrics(1)
    more["scores"]["energy"] = metrics(1, 0.9)["scores"]["mcm"]
    rows = summary([metrics(1), more, metrics(2)])
    assert [(row.score, row.seeds) for row in rows] == [("mcm", (1, 2)), ("energy", (1,))]


def test_two_runs_of_one_seed_without_a_readable_config_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"config\.yaml cannot be read .* what they differ in is not known"):
        summary([metrics(1) | {"run": str(tmp_path / name)} for name in ("first", "second")])


def test_settings_part_into_shared_and_differing_ones() -> None:
    rows = summary([metrics(1), metrics(1, method="negprompt", num_negatives=2, class_fraction=0.1)])
    shared, differing = split_settings(rows)
    # CoOp has no negatives: that makes no column.
    assert shared == {"backbone": "tiny_rn", "shots": "8", "negatives": "2", "seeds": "1"}
    assert differing == {"classes": ["100 %", "10 %"]}


# means over groups, shifted ID sets


def with_groups(**changes: Any) -> dict[str, Any]:
    """`near` is a set here as in `icons`; `all` is a mean over sets."""
    content = metrics(**changes)
    values = content["scores"]["mcm"]
    content["scores"] = {"mcm": {"near": values["near"], "flags": values["flags"], "all": values["mean"], **values}}
    return content | {"groups": {"all": list(SETS)}}


def with_shifted(**changes: Any) -> dict[str, Any]:
    content = metrics(**changes)
    enlarged = metrics(auroc=0.6)["scores"]
    spectrum = {"sets": {"sketch": {"accuracy": 0.5, "n": 4}}, "id_accuracy": 0.6, "n_id": 24, "scores": enlarged}
    return content | {"full_spectrum": spectrum}


def test_a_group_is_a_mean_and_not_an_ood_set() -> None:
    (row,) = summary([with_groups(), with_groups(seed=2)])
    assert row.ood_sets == SETS
    assert row.groups == ("all",)
    assert list(row.auroc) == [*SETS, "all", "mean"]
    assert row.auroc["all"] == row.auroc["mean"]


def test_runs_with_and_without_groups_stand_in_rows_of_their_own() -> None:
    assert [row.groups for row in summary([with_groups(), metrics(2)])] == [("all",), ()]


def test_a_full_spectrum_is_a_benchmark_of_its_own_after_the_others() -> None:
    rows = summary([with_shifted(seed=1), metrics(2), with_shifted(seed=3)])
    assert [(row.benchmark, row.seeds) for row in rows] == [
        ("icons", (1, 2, 3)),
        ("icons (full spectrum)", (1, 3)),
    ]
    assert rows[1].auroc["mean"].mean == pytest.approx(0.6, abs=1e-12)
    assert rows[1].id_accuracy.mean == pytest.approx(0.6, abs=1e-12)


def test_a_run_may_stand_beside_the_same_run_on_more_shifted_sets() -> None:
    rows = [metrics(1, split_sha256="e" * 64), with_shifted(seed=1)]
    check_comparable(rows)
    assert [row.seeds for row in summary(rows)] == [(1,), (1,)]
    with pytest.raises(RunError, match="seed 1"):
        summary([*rows, with_shifted(seed=1)])


def test_runs_without_ood_pictures_are_left_out_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    none = {"scores": {"mcm": {"mean": {}}}, "class_names_sha256": "d" * 64}  # of all classes, not of those left
    write(tmp_path / "a", metrics())
    write(tmp_path / "b", metrics() | none)
    with caplog.at_level(logging.WARNING):
        assert [row["run"] for row in collect(tmp_path)] == [str(tmp_path / "a")]
    assert "b was tested on no OOD picture (ood=none)" in caplog.text
    with pytest.raises(RunError, match=r"tested on no OOD picture \(ood=none\)"):
        collect(tmp_path / "b")
