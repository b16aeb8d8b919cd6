"""Checkpoints on disks that are full, read-only or lie: the one before is used, and nothing is lost for good."""

from __future__ import annotations

import os
import random
import subprocess
from contextlib import suppress

import pytest
import torch
from helpers import QUIET, feature_data, small_coop

from negprompt.errors import RunError
from negprompt.training.callbacks import to_csv
from negprompt.training.checkpoint import IDENTITY as KEY
from negprompt.training.checkpoint import AtomicCheckpointIO, usable_checkpoint
from negprompt.training.schedule import OptimizerSettings
from negprompt.training.trainer import fit_trainer

IDENTITY = {"run": "seed1-12345678", "schema": 1}
CONTENT = {KEY: IDENTITY, "context": torch.arange(40.0), "loops": {"step": [1, 2.5, "three"]}}


def fit(folder, epochs=3):
    """Train up to the end of an epoch, from the folder's checkpoint where there is one; the context and the curve."""
    curves = []
    trainer = fit_trainer(QUIET, folder, IDENTITY, epochs, curves.append)
    module = small_coop(OptimizerSettings(lr=0.05, epochs=3, warmup_epochs=3))
    data = feature_data(num_samples=18, batch_size=4)
    trainer.fit(module, data, ckpt_path=usable_checkpoint(folder, IDENTITY), weights_only=True)
    return module.context.detach(), to_csv(curves[-1])


@pytest.fixture
def small_disk(tmp_path):
    """A folder on a disk of its own, with a checkpoint of the first epoch."""
    disk = tmp_path / "disk"
    disk.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(words, capture_output=True, check=False).returncode != 0:
        pytest.skip("a file system of its own can only be mounted by root")
    fit(disk / "checkpoints", epochs=1)
    yield disk
    subprocess.run(["umount", "-l", str(disk)], capture_output=True, check=False)


def fill(disk):
    """Take all room that is left."""
    with (disk / "big").open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))


def test_a_full_disk_keeps_the_checkpoint_and_the_same_fit_goes_on_after_room_was_made(small_disk, tmp_path):
    whole = fit(tmp_path / "whole")
    before = (small_disk / "checkpoints" / "last.ckpt").read_bytes()
    fill(small_disk)
    with pytest.raises(RunError, match=r"last\.ckpt.*the disk is full.*paths\.runs_dir="):
        fit(small_disk / "checkpoints")
    assert (small_disk / "checkpoints" / "last.ckpt").read_bytes() == before
    assert {path.name for path in (small_disk / "checkpoints").iterdir()} == {"last.ckpt", "previous.ckpt"}
    (small_disk / "big").unlink()
    resumed = fit(small_disk / "checkpoints")
    assert torch.equal(resumed[0], whole[0])
    assert resumed[1] == whole[1]


def test_a_read_only_disk_is_named_and_the_same_fit_goes_on_once_it_can_be_written(small_disk, tmp_path):
    whole = fit(tmp_path / "whole")
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(RunError, match=r"last\.ckpt.*read-only.*paths\.runs_dir="):
        fit(small_disk / "checkpoints")
    subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
    resumed = fit(small_disk / "checkpoints")
    assert torch.equal(resumed[0], whole[0])
    assert resumed[1] == whole[1]


def equal(one, two):
    """Whether two checkpoints hold the same."""
    return torch.equal(one["context"], two["context"]) and one["loops"] == two["loops"]


def test_a_flipped_bit_anywhere_is_found_or_changes_nothing(tmp_path, monkeypatch):
    """Some bits of a zip mean nothing: reserved ones, dates, what fills up."""
    monkeypatch.setattr("negprompt.training.checkpoint.log.warning", lambda *_: None)
    file, draw = tmp_path / "last.ckpt", random.Random(1)
    AtomicCheckpointIO().save_checkpoint(CONTENT, file)
    whole, found = file.read_bytes(), 0
    places = range(0, len(whole), 7)
    for place in places:
        flipped = bytearray(whole)
        flipped[place] ^= 1 << draw.randrange(8)
        file.write_bytes(flipped)
        usable = usable_checkpoint(tmp_path, IDENTITY)
        assert usable is None or equal(torch.load(usable, weights_only=True), CONTENT)
        found += usable is None
    assert found > len(places) / 3


def test_a_cut_anywhere_is_found(tmp_path, monkeypatch):
    monkeypatch.setattr("negprompt.training.checkpoint.log.warning", lambda *_: None)
    file = tmp_path / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint(CONTENT, file)
    whole = file.read_bytes()
    for length in range(0, len(whole), 5):
        file.write_bytes(whole[:length])
        assert usable_checkpoint(tmp_path, IDENTITY) is None


def test_a_zip_that_claims_to_be_packed_is_damaged(tmp_path):
    """One bit in the list of contents, for which Python's reader has an error of its own."""
    file = tmp_path / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint(CONTENT, file)
    content = bytearray(file.read_bytes())
    content[content.index(b"PK\x01\x02") + 10] ^= 8
    file.write_bytes(content)
    assert usable_checkpoint(tmp_path, IDENTITY) is None


def test_a_disk_that_does_not_give_the_checkpoint_is_no_reason_to_drop_it(tmp_path, monkeypatch):
    AtomicCheckpointIO().save_checkpoint(CONTENT, tmp_path / "last.ckpt")

    def gone(*_):
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.read_bytes", gone)
        with pytest.raises(RunError, match=r"Cannot read .*last\.ckpt \(Input/output error\)"):
            usable_checkpoint(tmp_path, IDENTITY)
    assert usable_checkpoint(tmp_path, IDENTITY) == tmp_path / "last.ckpt"
