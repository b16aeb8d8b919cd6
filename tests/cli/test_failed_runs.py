"""Damaged pictures, full disks and bugs end one run with one message; everything else goes on and nothing is lost."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import pathlib
import shutil

import pytest
from command_line import one_message, results
from helpers import CLASS_NAMES, encoded, picture, sample, write_benchmark

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("no_figures")]

# --- damaged data --------------------------------------------------------------------------------------------------


def cut(path, length):
    path.write_bytes(path.read_bytes()[:length])


def with_shard(root, name, members):
    """The benchmark with one shard of other content, listed with its own hash."""
    write_benchmark(root, shards={name: members})


def members(part, bad, content):
    """All pictures of a part, with the second one of class `bad` replaced, or all of them left out."""
    return [
        member
        for name in CLASS_NAMES
        for place in range(4)
        if name != bad or content is not None
        for member in sample(
            f"{part}-{name}-{place}", name, content if (name, place) == (bad, 1) else encoded(picture(0.1, place))
        )
    ]


def change_index(root, change):
    index = json.loads((root / "benchmark.json").read_text())
    change(index)
    (root / "benchmark.json").write_text(json.dumps(index))


def unlisted(root):
    change_index(root, lambda index: index["shards"].pop("logos_test.tar"))


def truncated_but_listed(root):
    cut(root / "id_train.tar", 20_000)
    digest = hashlib.sha256((root / "id_train.tar").read_bytes()).hexdigest()
    change_index(root, lambda index: index["shards"]["id_train.tar"].update(sha256=digest))


def one_bit(root):
    content = bytearray((root / "flags_test.tar").read_bytes())
    content[700] ^= 1
    (root / "flags_test.tar").write_bytes(content)


DAMAGES = {
    "no index": (lambda root: (root / "benchmark.json").unlink(), 2, "No benchmark.json in"),
    "damaged index": (lambda root: cut(root / "benchmark.json", 9), 2, "benchmark.json is damaged"),
    "unlisted shard": (unlisted, 1, "lists no shards logos_test.tar"),
    "missing shard": (lambda root: (root / "near_test.tar").unlink(), 1, "near_test.tar is missing"),
    "truncated shard": (lambda root: cut(root / "id_test.tar", 999), 1, "id_test.tar is damaged or was altered"),
    "altered shard": (one_bit, 1, "flags_test.tar is damaged or was altered"),
    "truncated shard in the index": (truncated_but_listed, 1, "id_train.tar cannot be read (unexpected end of data)"),
    "no such picture format": (
        lambda root: with_shard(root, "id_test.tar", members("test", "drum", b"rubbish")),
        1, "Picture 'test-drum-1' of icons/test is corrupt (not a known format)", "replace or remove it",
    ),
    "half a picture": (
        lambda root: with_shard(root, "id_train.tar", members("train", "drum", encoded(picture(0.1, 1))[:150])),
        1, "Picture 'train-drum-1' of icons/train is corrupt", "replace or remove it",
    ),
    "no test picture of a class": (
        lambda root: with_shard(root, "id_test.tar", members("test", "drum", None)),
        1, "icons/test has no picture of: drum", "data.class_names",
    ),
    "no training picture of a class": (
        lambda root: with_shard(root, "id_train.tar", members("train", "drum", None)),
        1, "1 of 20 classes", "drum (0)", "data.class_names",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("damage", "code", "fragments"), [(d, c, f) for d, c, *f in DAMAGES.values()], ids=DAMAGES)
def test_damaged_data_is_named(negprompt, light, icons, tmp_path, damage, code, fragments):
    root = shutil.copytree(icons, tmp_path / "shards")
    damage(root)
    said = negprompt("train", *light, f"data.root={root}", "data.num_shots=4")
    one_message(said, code, *fragments)
    assert not list(tmp_path.rglob("scores.npz"))


def test_a_corrupt_picture_that_a_loader_process_met(negprompt, light, tmp_path):
    with_shard(tmp_path / "shards", "id_train.tar", members("train", "drum", b"rubbish"))
    words = (*light, f"data.root={tmp_path / 'shards'}", "data.num_shots=4", "trainer.num_workers=1")
    said = negprompt("train", *words)
    one_message(said, 1, "train: Picture 'train-drum-1' of icons/train is corrupt")
    (note, *_) = tmp_path.rglob("FAILED.json")
    assert json.loads(note.read_text())["message"].startswith("Picture 'train-drum-1'")


def test_more_shots_than_pictures_name_the_classes_and_what_there_is(negprompt, light):
    said = negprompt("train", *light, "data.num_shots=5")
    one_message(said, 1, "data.num_shots=5", "20 of 20 classes", "anchor (4)", "Set data.num_shots to 4 or less")


# --- disks ---------------------------------------------------------------------------------------------------------

WRITES = [
    ("coop", "metrics.csv"), ("coop", "last.ckpt"), ("coop", "prompts.safetensors"),
    ("negprompt", "last.ckpt"), ("negprompt", "scores.npz"), ("negprompt", "DONE"),
]  # fmt: skip


@pytest.fixture
def disk(monkeypatch):
    """`disk(method, file)`: that file of that stage does not fit any more once it is half written."""
    open_file, sync = pathlib.Path.open, os.fsync

    def fill(method, name):
        full = []

        def opened(self, *args, **kwargs):
            file = open_file(self, *args, **kwargs)
            if self.name.startswith(f".{name}.") and method in self.parts:
                full.append(file.fileno())
            return file

        def synced(descriptor):
            if descriptor in full:
                full.remove(descriptor)
                raise OSError(errno.ENOSPC, "No space left on device")
            sync(descriptor)

        monkeypatch.setattr(pathlib.Path, "open", opened)
        monkeypatch.setattr(os, "fsync", synced)

    return fill


@pytest.mark.parametrize(("method", "name"), WRITES)
def test_a_full_disk_loses_nothing(negprompt, light, finished, tmp_path, disk, monkeypatch, method, name):
    disk(method, name)
    one_message(negprompt("train", *light), 1, "Cannot write", name, "the disk is full", "paths.runs_dir=")
    runs = tmp_path / "runs"
    assert not list(runs.rglob(".*.tmp"))
    assert {done.parts[-4] for done in runs.rglob("DONE")} == ({"coop"} if method == "negprompt" else set())
    monkeypatch.undo()
    assert negprompt("train", *light).code == 0
    assert results(runs) == results(finished)


def test_a_log_that_does_not_fit_any_more_is_left_out(negprompt, light, finished, tmp_path, monkeypatch):
    def full(self):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("logging.FileHandler.flush", full, raising=False)
    said = negprompt("train", *light)
    assert said.code == 0
    assert "Traceback" not in said.err
    assert results(tmp_path / "runs") == results(finished)


# --- sweeps --------------------------------------------------------------------------------------------------------


def test_a_member_that_cannot_work_is_named_before_any_is_run(negprompt, light, tmp_path):
    said = negprompt("train", *light, "data.num_shots=2,9", "seed=1,2", "-m")
    one_message(said, 2, "negprompt train: data.num_shots=9 seed=1: data.num_shots=9, but 20 of 20 classes")
    assert not list((tmp_path / "runs").rglob("config.yaml"))


def test_a_bug_in_one_run_is_one_line_with_its_traceback_in_the_log(negprompt, light, tmp_path, monkeypatch):
    def broken(self, *_):
        raise ZeroDivisionError("what a pity")

    monkeypatch.setattr("negprompt.methods.coop.CoOp.loss", broken)
    one_message(negprompt("train", *light), 1, "ZeroDivisionError: what a pity", "HYDRA_FULL_ERROR=1 shows where")
    for log in (tmp_path / "runs").rglob("log.txt"):
        assert "in broken" in log.read_text()
    assert json.loads(next(tmp_path.rglob("FAILED.json")).read_text())["error"] == "ZeroDivisionError"


def test_what_was_finished_before_is_not_touched(negprompt, light, finished, tmp_path):
    shutil.copytree(finished, tmp_path / "runs")
    before = results(tmp_path / "runs")
    assert negprompt("train", *light, "seed=-1").code == 2
    assert negprompt("train", *light, "data.num_shots=9").code == 1
    assert results(tmp_path / "runs") == before
    said = negprompt("train", *light)
    assert "reused" in said.out
