"""`negprompt predict`: what it reads, what it writes, what it refuses, and what is left where it is stopped."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import signal
import time

import numpy as np
import pytest
from command_line import one_message
from PIL import Image
from warm import Started

from negprompt import Detector
from negprompt.detection.sheet import Least
from negprompt.detection.stream import Answer, find_images, stream
from negprompt.errors import DataError

pytestmark = pytest.mark.usefixtures("no_figures")

COLUMNS = ["path", "label", "class_name", "score", "p_value", "is_ood", "nearest_negative", "error"]
CPU = ("trainer=cpu", "trainer.progress_bar=false")


@pytest.fixture
def predict(negprompt, run):
    return lambda *words: negprompt("predict", f"run={run}", *CPU, *words)


def rows(path):
    with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        return list(csv.DictReader(file))


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def mixed(folder, tmp_path):
    """Eight pictures and three broken ones."""
    root = shutil.copytree(folder, tmp_path / "mixed")
    (root / "broken.png").write_text("no picture")
    (root / "empty.jpg").write_bytes(b"")
    (root / "more" / "zz.png").write_bytes((folder / "0.webp").read_bytes()[:50])
    return root


# --- what it writes -------------------------------------------------------------------------------------------------


def test_csv_and_json_lines_hold_what_the_detector_says(predict, run, folder, tmp_path):
    detector = Detector.load(run, device="cpu")
    paths = [str(path) for path in sorted(folder.glob("*.webp")) + sorted(folder.glob("more/*.webp"))]
    wanted = detector(paths)
    for name in ("out.csv", "out.jsonl"):
        said = predict(f"input={folder}", f"output={tmp_path / name}")
        assert said.code == 0, said.err
        assert "8 images" in said.out
    assert list(rows(tmp_path / "out.csv")[0]) == COLUMNS
    for form in (rows(tmp_path / "out.csv"), lines(tmp_path / "out.jsonl")):
        assert [row["path"] for row in form] == paths
        np.testing.assert_allclose([float(row["score"]) for row in form], wanted.score, atol=1e-9)
        assert [int(row["label"]) for row in form] == wanted.label.tolist()
        assert [float(row["p_value"]) for row in form] == wanted.p_value.tolist()
        assert [str(row["is_ood"]).lower() == "true" for row in form] == wanted.is_ood.tolist()
        assert [row["class_name"] for row in form] == wanted.class_name
        assert [row["nearest_negative"] for row in form] == wanted.nearest_negative
        assert {row["error"] for row in form} <= {"", None}


def test_without_output_there_is_a_table_on_the_terminal(predict, folder):
    said = predict(f"input={folder}")
    assert (said.code, len([line for line in said.out.splitlines() if line.endswith(".webp")])) == (0, 8)
    assert "at most 0.05 of ID images are rejected, on average over calibrations (20 held-out images)" in said.out


def test_a_broken_picture_is_one_line_with_its_reason(predict, mixed, tmp_path):
    said = predict(f"input={mixed}", f"output={tmp_path / 'out.jsonl'}", "trainer.eval_batch_size=3")
    assert said.code == 0
    assert "8 images, 3 could not be read" in said.out
    found = lines(tmp_path / "out.jsonl")
    faults = {row["path"].rpartition("/")[2]: row["error"] for row in found if row["error"]}
    assert faults.keys() == {"broken.png", "empty.jpg", "zz.png"}
    assert "not a known format" in faults["broken.png"]
    assert "0 bytes" in faults["empty.jpg"]
    assert all(row["score"] is None and row["is_ood"] is None for row in found if row["error"])
    assert [row["score"] is not None for row in found if not row["error"]] == [True] * 8


def test_how_it_is_cut_and_by_how_many_processes_does_not_matter(predict, mixed, tmp_path):
    for name, words in {"one": (), "other": ("trainer.eval_batch_size=2", "trainer.num_workers=2")}.items():
        assert predict(f"input={mixed}", f"output={tmp_path / name}.csv", *words).code == 0
    one, other = (rows(tmp_path / f"{name}.csv") for name in ("one", "other"))
    for first, second in zip(one, other, strict=True):
        assert (first.pop("score") == "") == (second.pop("score") == "")
        assert first == second


def test_benjamini_hochberg_is_over_all_images(predict, run, folder, tmp_path):
    detector = Detector.load(run, device="cpu")
    for name in ("out.csv", "out.jsonl"):
        said = predict(
            f"input={folder}", f"output={tmp_path / name}", "false_discovery_rate=0.9", "trainer.eval_batch_size=3"
        )
        assert said.code == 0
        form = rows(tmp_path / name) if name.endswith("csv") else lines(tmp_path / name)
        wanted = detector([row["path"] for row in form], false_discovery_rate=0.9)
        assert [str(row["is_ood"]).lower() == "true" for row in form] == wanted.is_ood.tolist()
        assert f"{wanted.is_ood.sum()} out-of-distribution" in said.out


def test_the_contact_sheet_shows_the_lowest_scores(predict, folder, tmp_path):
    sheet = tmp_path / "sheet.png"
    assert predict(f"input={folder}", f"sheet={sheet}", "sheet_images=3").code == 0
    image = Image.open(sheet)
    assert image.mode == "RGB"
    assert image.width > image.height > 100
    least = Least(2)
    least.add([Answer("a", score=0.3), Answer("b", score=0.1), Answer("c", error="broken")])
    least.add([Answer("d", score=0.2), Answer("e", score=0.1)])
    assert [one.path for one in least.ordered()] == ["b", "e"]


def test_a_calibration_by_other_images_is_used_and_can_be_kept(predict, run, folder, tmp_path, negprompt):
    saved = tmp_path / "kept.safetensors"
    said = predict(
        f"input={folder}", f"calibration={folder}", f"save={saved}", "ood_alpha=0.2", f"output={tmp_path}/a.csv"
    )
    assert said.code == 0, said.err
    detector = Detector.load(saved, device="cpu")
    assert (detector.calibration.n, detector.calibration.source) == (8, str(folder))
    assert (
        negprompt("predict", f"run={saved}", *CPU, f"input={folder}", "ood_alpha=0.2", f"output={tmp_path}/b.csv").code
        == 0
    )
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()


def test_cross_validation_calibrates_without_held_out_images_and_says_what_it_is_worth(predict, folder, tmp_path):
    said = predict(
        f"input={folder}", "calibration=cross_validation", "folds=2", "score=mcm", f"output={tmp_path}/a.csv"
    )
    assert said.code == 0, said.err
    assert "without a guarantee (cross-validation over 40 few-shot images)" in said.out


def test_a_run_without_calibration_labels_and_says_what_is_missing(run, folder, tmp_path, negprompt):
    plain = shutil.copytree(run, tmp_path / "run")
    (plain / "detector.json").unlink()
    said = negprompt("predict", f"run={plain}", *CPU, f"input={folder}", f"output={tmp_path}/a.csv")
    assert said.code == 0
    assert "No threshold: this run has no calibration of score=negprompt (calibration=<folder" in said.err + said.out
    assert {row["is_ood"] for row in rows(tmp_path / "a.csv")} == {""}
    refused = negprompt("predict", f"run={plain}", *CPU, f"input={folder}", "ood_alpha=0.1")
    one_message(refused, 2, "no calibration of score=negprompt")


# --- what it reads --------------------------------------------------------------------------------------------------


def test_folder_pattern_picture_list_and_standard_input_name_the_same_files(folder, tmp_path, monkeypatch):
    def places(given):
        files = find_images(str(given))
        return [files.place(row) for row in range(len(files))]

    top = [str(folder / f"{place}.webp") for place in range(4)]
    assert places(folder / "*.webp") == top
    assert places(folder) == places(f"{folder}/**/*.webp")
    assert places(top[0]) == top[:1]
    listed = folder.parent / "list.txt"
    listed.write_text(f"{folder.name}/0.webp\n\n{top[1]}\n")
    assert places(listed) == top[:2]
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(top)))
    assert places("-") == top


def test_an_input_that_names_nothing_says_what_it_may_be(tmp_path):
    (tmp_path / "list.txt").write_text("\n")
    for given in (tmp_path, tmp_path / "list.txt", tmp_path / "*.png"):
        with pytest.raises(DataError, match="names no picture"):
            find_images(str(given))
    with pytest.raises(DataError, match="no such folder, picture or list"):
        find_images(str(tmp_path / "gone"))


# --- what it refuses ------------------------------------------------------------------------------------------------


def test_bad_settings_are_one_message(predict, folder, tmp_path):
    there = tmp_path / "there.csv"
    there.write_text("mine")
    (tmp_path / "file").write_text("")
    cases = {
        ("ood_alpha=1.5",): "ood_alpha=1.5 is not allowed",
        ("ood_alpha=0",): "a share between 0 and 1",
        ("ood_alpha=0.01",): "Calibrate on at least 99 images",
        ("ood_alpha=0.1", "false_discovery_rate=0.1"): "two rules",
        ("false_discovery_rate=2",): "false_discovery_rate=2",
        ("output=out.txt",): ".csv or .jsonl",
        ("sheet=sheet.jpg",): ".png",
        ("score=[mcm,energy]",): "choose one",
        ("folds=1",): "folds",
    }
    for words, what in cases.items():
        one_message(predict(f"input={folder}", *words), 2, what)
    one_message(predict(f"input={folder}", f"output={there}"), 1, "exists already")
    assert there.read_text() == "mine"
    one_message(predict(f"input={folder}", f"output={tmp_path}/file/out.csv"), 1, "Cannot write")
    one_message(predict(f"input={tmp_path}/gone"), 1, "no such folder")


def test_where_nothing_can_be_read_the_command_fails(predict, tmp_path):
    (tmp_path / "broken.png").write_text("no picture")
    said = predict(f"input={tmp_path}", f"output={tmp_path / 'out.csv'}")
    one_message(said, 1, "None of the 1 images")
    assert len(rows(tmp_path / "out.csv")) == 1


@pytest.mark.slow
def test_ctrl_c_leaves_whole_lines_of_what_was_predicted(run, folder, tmp_path):
    os.mkfifo(tmp_path / "zz.png")  # a picture that never comes
    for path in folder.glob("*.webp"):
        shutil.copy(path, tmp_path)
    output = tmp_path / "out" / "out.csv"
    started = Started(
        "predict", f"run={run}", *CPU, f"input={tmp_path}", f"output={output}", "trainer.eval_batch_size=2"
    )
    deadline = time.monotonic() + 120
    while not (output.is_file() and len(output.read_text().splitlines()) == 5) and time.monotonic() < deadline:
        time.sleep(0.05)
    started.send_signal(signal.SIGINT)
    _, err = started.communicate(60)
    assert started.returncode == 130
    assert "What was predicted until then is in the output" in err
    assert [row["path"] for row in rows(output)] == [str(tmp_path / f"{place}.webp") for place in range(4)]
    assert all(row["score"] for row in rows(output))


def test_a_stream_asks_for_files_only_as_it_comes_to_them(run, folder):
    detector = Detector.load(run, device="cpu")
    answers = stream(detector, find_images(str(folder)), batch_size=3, num_workers=0, alpha=None)
    assert len(next(answers)) == 3
    assert [len(batch) for batch in answers] == [3, 2]
