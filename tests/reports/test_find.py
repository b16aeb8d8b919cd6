from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.reports.test_collect import metrics, write

from negprompt.errors import RunError
from negprompt.reports.collect import summary
from negprompt.reports.find import find_runs


def rows_in(place: Path | str) -> list[dict[str, Any]]:
    return find_runs(place).rows


def test_finished_runs_at_any_depth_are_read_in_the_order_of_their_names(tmp_path: Path) -> None:
    write(tmp_path / "icons/coop/tiny_rn/seed2-b", metrics(2))
    write(tmp_path / "icons/coop/tiny_rn/seed1-a", metrics(1))
    write(tmp_path / "top", metrics(3))
    write(tmp_path / "icons/coop/tiny_rn/seed4-unfinished", metrics(4), done=False)
    rows = rows_in(tmp_path)
    assert [row["seed"] for row in rows] == [1, 2, 3]
    assert rows[0]["run"] == (tmp_path / "icons/coop/tiny_rn/seed1-a").as_posix()
    assert {key: value for key, value in rows[0].items() if key != "run"} == metrics(1)


def test_replaced_runs_are_left_out_unless_they_are_asked_for(tmp_path: Path) -> None:
    write(tmp_path / "icons/coop/tiny_rn/seed1-a", metrics(1))
    write(tmp_path / "_superseded/icons/coop/tiny_rn/seed1-a-1", metrics(1))
    assert len(summary(rows_in(tmp_path))) == 1
    (old,) = rows_in(tmp_path / "_superseded")
    assert old["run"].endswith("seed1-a-1")


def test_a_run_folder_itself_can_be_given(tmp_path: Path) -> None:
    assert [row["seed"] for row in rows_in(str(write(tmp_path / "run", metrics(5))))] == [5]


def test_a_missing_folder_a_pattern_without_match_and_folders_without_runs_are_errors(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"There is no folder .*nowhere"):
        find_runs(tmp_path / "nowhere")
    with pytest.raises(RunError, match=r"No folder matches .*nowhere\*"):
        find_runs(tmp_path / "nowhere*")
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "holiday.txt").touch()
    with pytest.raises(RunError, match="No finished run in"):
        find_runs(tmp_path / "foreign")


def test_where_nothing_is_finished_the_error_says_what_was_found_instead(tmp_path: Path) -> None:
    unfinished = write(tmp_path / "begun", metrics(), done=False)
    (unfinished / "config.yaml").touch()
    with pytest.raises(RunError, match=r"No finished run in .*\n.*begun is not finished: it has no DONE"):
        find_runs(tmp_path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ('{"schema": 1, "bench', r"metrics.json cannot be read"),
        ('{"schema": 2}', "has schema 2, this version reads schema 1"),
        ("[]", "has schema list"),
        ('{"schema": 1, "benchmark": "icons"}', "lacks method, backbone"),
        (None, "is marked DONE but has no metrics.json"),
    ],
)
def test_a_damaged_run_is_skipped_with_its_reason_and_the_others_are_read(
    tmp_path: Path, content: str | None, reason: str
) -> None:
    write(tmp_path / "good", metrics())
    bad = write(tmp_path / "bad", {})
    (bad / "metrics.json").unlink()
    if content is not None:
        (bad / "metrics.json").write_text(content)
    found = find_runs(tmp_path)
    assert [row["run"] for row in found.rows] == [(tmp_path / "good").as_posix()]
    ((folder, why),) = found.skipped
    assert folder == bad.as_posix()
    assert reason in why


def test_failed_and_unfinished_runs_are_skipped_with_what_they_say(tmp_path: Path) -> None:
    write(tmp_path / "good", metrics())
    failed = write(tmp_path / "failed", metrics(), done=False)
    (failed / "FAILED.json").write_text(json.dumps({"message": "the loss is NaN"}))
    assert dict(find_runs(tmp_path).skipped) == {failed.as_posix(): "failed: the loss is NaN"}


def test_what_lies_in_a_run_folder_is_no_run(tmp_path: Path) -> None:
    run = write(tmp_path / "run", metrics(1))
    write(run / "evaluation" / "other", metrics(2))
    assert [row["seed"] for row in rows_in(tmp_path)] == [1]


def test_a_pattern_chooses_folders(tmp_path: Path) -> None:
    for method in ("coop", "locoop", "negprompt"):
        write(tmp_path / "icons" / method / "tiny_rn" / "seed1-a", metrics(method=method))
    assert [row["method"] for row in rows_in(f"{tmp_path}/icons/*coop")] == ["coop", "locoop"]
    assert len(rows_in(f"{tmp_path}/**/seed1-*")) == 3


def test_several_places_are_put_together_and_a_run_counts_once(tmp_path: Path) -> None:
    for seed in (1, 2, 3):
        write(tmp_path / f"part{seed}" / "run", metrics(seed))
    found = find_runs([f"{tmp_path}/part3", f"{tmp_path}/part[13]"])
    assert [row["seed"] for row in found.rows] == [3, 1]


def test_a_sweep_is_its_members_wherever_they_lie(tmp_path: Path) -> None:
    folders = [write(tmp_path / "runs" / name, metrics(seed)) for seed, name in enumerate(("a", "b", "c"), start=1)]
    sweep = tmp_path / "runs" / "_sweeps" / "1a2b"
    sweep.mkdir(parents=True)
    members = [{"folder": str(folder)} for folder in (folders[2], folders[0], tmp_path / "not-begun")]
    (sweep / "members.json").write_text(json.dumps({"members": members}))
    found = find_runs(sweep)
    assert [row["seed"] for row in found.rows] == [3, 1]
    assert found.skipped == (
        ((tmp_path / "not-begun").as_posix(), "is not there (a member of the sweep that has not begun)"),
    )
