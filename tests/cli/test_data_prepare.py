"""`negprompt data prepare`: what it says, what it refuses, and that nothing is lost when it is stopped."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal

import miniatures
import pytest
from command_line import ONE_STAGE, one_message
from shard_folders import content

from negprompt.data.shards.packing import Packer

pytestmark = pytest.mark.usefixtures("no_figures")

PICTURES = {"train": 12, "test": 6, "ood/nature": 4, "ood/textures": 4}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Own pictures in folders, with two OOD sets; to be looked at only."""
    root = miniatures.folder(tmp_path_factory.mktemp("pictures"))
    miniatures.ood_folder(root / "ood")
    return root


@pytest.fixture
def own(pictures, tmp_path):
    """Overrides that name these pictures."""
    return (f"data.root={pictures}", f"ood.root={pictures / 'ood'}", f"paths.runs_dir={tmp_path / 'runs'}")


@pytest.fixture
def prepare(negprompt, own, tmp_path):
    """`negprompt data prepare folder` into `tmp_path / "shards"`; later words win."""
    return lambda *words: negprompt(
        "data", "prepare", "folder", *own, f"output={tmp_path / 'shards'}", "workers=1", *words
    )


@pytest.fixture
def train(negprompt, own):
    """A run of zero-shot on the pictures; later words win."""
    light = (*ONE_STAGE, "method=zero_shot", "data=folder", "ood=folder")
    return lambda *words: negprompt("train", *light, *own, *words)


def table(said):
    """Rows by their first word: the numbers behind it."""
    return {line.split()[0]: line.split()[1:] for line in said.out.splitlines() if re.search(r"\s\d[\d,]*\s*$", line)}


def index_of(folder):
    return json.loads((folder / "index.json").read_text())


# --- what it says --------------------------------------------------------------------------------------------------


def test_every_set_is_counted_with_the_bytes_of_all_shards(prepare, tmp_path):
    said = prepare()
    assert (said.code, said.messages) == (0, [])
    size = sum(path.stat().st_size for path in (tmp_path / "shards").glob("*.tar"))
    assert table(said) == {name: [str(count)] for name, count in PICTURES.items()} | {"bytes": [f"{size:,}"]}
    assert f"4 of 4 shards written now; use them with data.shards={tmp_path / 'shards'}\n" in said.out


def test_a_second_call_finds_everything_there(prepare, tmp_path):
    first = prepare()
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "shards").iterdir()}
    again = prepare()
    assert again.code == 0
    assert table(again) == table(first)
    assert f"all was there; use them with data.shards={tmp_path / 'shards'}\n" in again.out
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "shards").iterdir()} == before


def test_the_number_of_processes_changes_nothing(prepare, tmp_path):
    for workers in (1, 2):
        assert prepare(f"output={tmp_path / str(workers)}", f"workers={workers}").code == 0
    assert content(tmp_path / "1") == content(tmp_path / "2")


def test_a_run_on_files_is_found_again_by_one_on_shards(prepare, train, tmp_path):
    assert prepare().code == 0
    assert train("data.num_shots=2").code == 0
    assert "reused" in train("data.num_shots=2", f"data.shards={tmp_path / 'shards'}").out


def test_only_the_ood_sets_that_are_asked_for_are_written(negprompt, own, tmp_path):
    words = ("ood.sets=[textures]", f"output={tmp_path / 'shards'}", "workers=1")
    assert table(negprompt("data", "prepare", "folder", *own, *words)).keys() == {*PICTURES, "bytes"} - {"ood/nature"}


# --- one draw ------------------------------------------------------------------------------------------------------

DRAW = ("train=draw", "seed=3", "data.num_shots=2")


def test_a_draw_serves_its_own_seed_and_shots_with_the_split_of_files(prepare, train, tmp_path):
    assert table(prepare(*DRAW))["train"] == ["6"]
    assert index_of(tmp_path / "shards")["draw"] == {"seed": 3, "num_shots": 2}
    assert train("seed=3", "data.num_shots=2").code == 0
    other = ("seed=3", "data.num_shots=2", f"data.shards={tmp_path / 'shards'}", f"paths.runs_dir={tmp_path / 'other'}")
    assert train(*other).code == 0
    files, shards = (next((tmp_path / name).rglob("metrics.json")) for name in ("runs", "other"))
    assert json.loads(files.read_text())["split_sha256"] == json.loads(shards.read_text())["split_sha256"]
    assert files.parent.name == shards.parent.name
    assert files.read_bytes() == shards.read_bytes()


@pytest.mark.parametrize("wanted", [("seed=1", "data.num_shots=2"), ("seed=3", "data.num_shots=1")])
def test_a_draw_is_refused_to_another_seed_or_number_of_shots(prepare, train, tmp_path, wanted):
    assert prepare(*DRAW).code == 0
    said = train(*wanted, f"data.shards={tmp_path / 'shards'}")
    one_message(said, 1, "the draw of seed=3 data.num_shots=2", f"wants {' '.join(wanted)}", "train=all")
    assert not list((tmp_path / "runs").rglob("metrics.json"))


def test_a_draw_of_some_classes_is_refused_to_more_of_them(prepare, train, tmp_path):
    assert table(prepare(*DRAW, "data.class_fraction=0.34"))["train"] == ["2"]
    said = train("seed=3", "data.num_shots=2", f"data.shards={tmp_path / 'shards'}")
    one_message(said, 1, "2 of 3 classes have fewer pictures", "dog_breed (0)")


# --- what it refuses -----------------------------------------------------------------------------------------------

REFUSED = {
    "workers=0": ("workers=0", "greater than or equal to 1"),
    "shard_mb=0": ("shard_mb=0", "greater than or equal to 1"),
    "seed=-1": ("seed=-1", "greater than or equal to 0"),
    "train=some": ("train=some", "allowed: all, draw"),
    "worker=2": ("worker", "did you mean 'workers'?"),
    "data.num_shot=2": ("num_shot", "did you mean 'num_shots'?"),
    "data.corrupt=ignore": ("data.corrupt=ignore", "allowed: skip, stop"),
    "ood.sets=[natur]": ("unknown OOD set 'natur'", "did you mean 'nature'?"),
}


@pytest.mark.parametrize(("word", "fragments"), REFUSED.items(), ids=REFUSED)
def test_wrong_options_are_refused_with_the_fix_before_anything_is_written(prepare, tmp_path, word, fragments):
    one_message(prepare(word), 2, *fragments)
    assert not (tmp_path / "shards").exists()


def test_an_output_is_needed(negprompt, own):
    one_message(negprompt("data", "prepare", "folder", *own), 2, "output is missing", "output=")


def test_a_data_set_is_needed(negprompt, own, tmp_path):
    one_message(negprompt("data", "prepare", f"output={tmp_path / 'shards'}"), 2, "data is missing", "imagenet_1k")


def test_a_data_set_is_looked_up_by_its_name(negprompt, tmp_path):
    said = negprompt("data", "prepare", "foldr", f"output={tmp_path / 'shards'}")
    one_message(said, 2, "foldr", "did you mean 'folder'?")


def test_an_output_that_is_a_file_is_said(prepare, tmp_path):
    (tmp_path / "shards").write_bytes(b"precious")
    one_message(prepare(), 1, f"{tmp_path / 'shards'} is a file", "give another output=<folder>")
    assert (tmp_path / "shards").read_bytes() == b"precious"


def test_a_folder_of_other_shards_is_said_and_left_as_it_is(prepare, tmp_path):
    assert prepare().code == 0
    before = content(tmp_path / "shards")
    one_message(prepare(*DRAW), 1, "finished shards of 'folder'", "set another output=<folder>")
    assert content(tmp_path / "shards") == before


# --- damaged pictures ----------------------------------------------------------------------------------------------


@pytest.fixture
def damaged(pictures, tmp_path):
    """The pictures, of which one for the test and one OOD end early."""
    root = shutil.copytree(pictures, tmp_path / "damaged")
    miniatures.truncate(root / "test" / "cat" / "cat_1.jpg")
    miniatures.truncate(root / "ood" / "nature" / "002.jpeg")
    return root


def words_of(root):
    return f"data.root={root}", f"ood.root={root / 'ood'}"


@pytest.mark.parametrize("workers", [1, 2])
def test_a_corrupt_picture_stops_with_its_name(prepare, damaged, tmp_path, workers):
    said = prepare(*words_of(damaged), f"workers={workers}")
    one_message(said, 1, "is corrupt", "replace or remove it")
    assert any(name in said.err for name in ("test/cat/cat_1.jpg", "ood/nature/002.jpeg"))
    assert not (tmp_path / "shards" / "index.json").exists()


def test_a_corrupt_picture_is_left_out_on_request_and_counted_here_and_in_runs(prepare, train, damaged, tmp_path):
    said = prepare(*words_of(damaged), "data.corrupt=skip")
    assert said.code == 0
    assert table(said)["test"] == ["5", "1"]
    assert table(said)["ood/nature"] == ["3", "1"]
    assert table(said)["train"] == ["12"]
    assert "cat/cat_1.jpg" in said.err
    assert train("data.num_shots=2", f"data.shards={tmp_path / 'shards'}").code == 0
    (metrics,) = (tmp_path / "runs").rglob("metrics.json")
    assert json.loads(metrics.read_text())["dropped_samples"] == 2


# --- stopped -------------------------------------------------------------------------------------------------------


def test_ctrl_c_leaves_what_is_done_and_the_same_command_goes_on(prepare, tmp_path, monkeypatch):
    assert prepare(f"output={tmp_path / 'whole'}").code == 0
    pack = Packer.pack

    def stopped(self, plan):
        if plan.set_name == "ood/nature":
            os.kill(os.getpid(), signal.SIGINT)
        return pack(self, plan)

    with monkeypatch.context() as patch:
        patch.setattr(Packer, "pack", stopped)
        one_message(prepare(), 130, "interrupted", "the same command goes on")
    done = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "shards").glob("*.tar")}
    assert done.keys() == {"train-000000.tar", "test-000000.tar"}
    assert not (tmp_path / "shards" / "index.json").exists()

    said = prepare()
    assert "2 of 4 shards written now" in said.out
    assert content(tmp_path / "shards") == content(tmp_path / "whole")
    assert {name: (tmp_path / "shards" / name).stat().st_mtime_ns for name in done} == done
