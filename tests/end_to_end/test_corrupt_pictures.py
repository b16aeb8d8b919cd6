"""Damaged pictures among files and in what shards are made of: a run names them, or goes on without and counts them."""

from __future__ import annotations

import json
import shutil

import miniatures
import numpy as np
import pytest
from command_line import ONE_STAGE, Said, call, one_message

pytestmark = pytest.mark.usefixtures("no_figures")

TEST_PICTURE, TRAIN_PICTURE = "test/cat/cat_1.jpg", "train/dog_breed/dog_breed_2.png"
SHOTS = 4  # all that there are: the damaged training picture is drawn


@pytest.fixture(scope="module")
def damaged(tmp_path_factory):
    """Own pictures of which one for training and one for the test end early."""
    root = miniatures.folder(tmp_path_factory.mktemp("damaged") / "pictures")
    miniatures.ood_folder(root / "ood")
    miniatures.truncate(root / TEST_PICTURE)
    miniatures.truncate(root / TRAIN_PICTURE)
    return root


@pytest.fixture
def negprompt(capsys):
    return lambda *words: Said(call(*words), *capsys.readouterr())


@pytest.fixture
def words(damaged, tmp_path):
    """Overrides of a run on them that takes a second."""
    light = [word for word in ONE_STAGE if not word.startswith("data.num_shots")]
    epochs = ("method=coop", "method.optimizer.epochs=1", "method.optimizer.min_steps=0", f"data.num_shots={SHOTS}")
    data = ("data=folder", "ood=folder", f"data.root={damaged}", f"ood.root={damaged / 'ood'}")
    return (*light, *epochs, *data, f"paths.runs_dir={tmp_path / 'runs'}")


def finished(runs):
    (done,) = runs.rglob("DONE")
    return done.parent


def metrics_of(folder):
    return json.loads((folder / "metrics.json").read_text())


@pytest.mark.parametrize(("picture", "features"), [(TEST_PICTURE, "store"), (TRAIN_PICTURE, "none")])
def test_a_damaged_picture_stops_a_run_that_was_not_told_otherwise(
    negprompt, words, damaged, tmp_path, picture, features
):
    root = shutil.copytree(damaged, tmp_path / "one")
    other = ({TEST_PICTURE, TRAIN_PICTURE} - {picture}).pop()
    whole = miniatures.folder(tmp_path / "whole")
    shutil.copy(whole / other, root / other)
    words = (*words, f"data.root={root}", f"features={features}")
    one_message(negprompt("train", *words), 1, str(root / picture), "is corrupt", "replace or remove it")
    assert not list(tmp_path.rglob("DONE"))

    # Put right, the same command finishes: on other pictures, hence in another folder.
    shutil.copy(whole / picture, root / picture)
    assert negprompt("train", *words).code == 0
    assert metrics_of(finished(tmp_path / "runs"))["dropped_samples"] == 0


@pytest.mark.parametrize("features", ["store", "none"])
def test_damaged_pictures_are_left_out_and_counted_on_request(negprompt, words, damaged, tmp_path, features):
    said = negprompt("train", *words, "data.corrupt=skip", f"features={features}")
    assert (said.code, said.messages) == (0, [])
    assert str(damaged / TEST_PICTURE) in said.err
    assert str(damaged / TRAIN_PICTURE) in said.err
    folder = finished(tmp_path / "runs")
    assert metrics_of(folder)["dropped_samples"] == 2
    keys = {f"{name}/{name}_{number}.jpg" for name in miniatures.CLASSES for number in range(2)}
    with np.load(folder / "scores.npz") as saved:
        assert set(saved["id/key"].tolist()) == keys - {TEST_PICTURE.removeprefix("test/")}
        assert len(saved["id/key"]) == len(keys) - 1


# --- shards that were made without them ----------------------------------------------------------------------------


@pytest.fixture
def prepare(negprompt, damaged, tmp_path):
    """`negprompt data prepare` of them into `tmp_path / "shards"`, without what cannot be decoded."""
    own = ("folder", f"data.root={damaged}", f"ood.root={damaged / 'ood'}", f"data.num_shots={SHOTS}")
    rest = (f"output={tmp_path / 'shards'}", "workers=1", f"paths.runs_dir={tmp_path / 'prepared'}")
    return lambda *words: negprompt("data", "prepare", *own, *rest, *words)


@pytest.mark.parametrize("corrupt", ["stop", "skip"])
def test_a_run_on_shards_counts_what_their_preparation_left_out(negprompt, words, prepare, tmp_path, corrupt):
    assert prepare("data.corrupt=skip").code == 0
    shards = (f"data.shards={tmp_path / 'shards'}", f"data.corrupt={corrupt}", "data.num_shots=3")
    assert negprompt("train", *words, *shards).code == 0
    assert metrics_of(finished(tmp_path / "runs"))["dropped_samples"] == 2


def test_only_pictures_of_the_classes_that_are_used_count(negprompt, words, prepare, tmp_path):
    assert prepare("data.corrupt=skip").code == 0
    shards = (f"data.shards={tmp_path / 'shards'}", "data.num_shots=3")
    assert negprompt("train", *words, *shards, "data.keep_classes=[cat,t-rex]").code == 0
    assert metrics_of(finished(tmp_path / "runs"))["dropped_samples"] == 1


def test_shards_of_a_draw_give_the_run_on_files_that_leaves_the_same_out(negprompt, words, prepare, tmp_path):
    """The draw is made before anybody looks which pictures can be decoded."""
    assert prepare("data.corrupt=skip", "train=draw").code == 0
    assert negprompt("train", *words, "data.corrupt=skip").code == 0
    files = finished(tmp_path / "runs")
    moved = shutil.move(tmp_path / "runs", tmp_path / "from_files") / files.relative_to(tmp_path / "runs")
    assert negprompt("train", *words, "data.corrupt=skip", f"data.shards={tmp_path / 'shards'}").code == 0
    shards = finished(tmp_path / "runs")
    assert shards.name == moved.name
    for name in ("metrics.json", "scores.npz", "prompts.safetensors"):
        assert (shards / name).read_bytes() == (moved / name).read_bytes()
    assert metrics_of(shards)["dropped_samples"] == 2
