"""Preparing shards: the same bytes whatever happens on the way, and nothing that webdataset cannot read."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
import webdataset
from shard_folders import CLASSES, OOD, SHARD_BYTES, TEST, TRAIN, content, listings, prepared, write_pictures

from negprompt.data.classes import Classes
from negprompt.data.contents import Memory
from negprompt.data.listing import Listing
from negprompt.data.shards.packing import Packer, plans
from negprompt.data.shards.prepare import prepare
from negprompt.errors import DataError, RunError

PICTURES = {"train": 3 * TRAIN, "test": 3 * TEST, "ood/near": OOD, "ood/far": OOD + 1}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return write_pictures(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="module")
def shards(pictures, tmp_path_factory):
    folder = tmp_path_factory.mktemp("prepared") / "shards"
    prepared(pictures, folder)
    return folder


@pytest.fixture
def spoilt(tmp_path):
    """Pictures of which one ends early."""
    root = write_pictures(tmp_path / "spoilt")
    path = root / "train" / "bee" / "02.png"
    path.write_bytes(path.read_bytes()[:300])
    return root


def samples(folder, pattern):
    names = sorted(str(path) for path in folder.glob(pattern))
    return list(webdataset.WebDataset(names, shardshuffle=False, empty_check=False))


def test_the_summary_counts_what_is_in_the_folder(pictures, tmp_path):
    summary = prepared(pictures, tmp_path / "new")
    assert summary.pictures == PICTURES
    assert set(summary.dropped.values()) == {0}
    tars = list((tmp_path / "new").glob("*.tar"))
    assert (summary.shards, summary.written) == (len(tars), len(tars))
    assert summary.bytes_ == sum(path.stat().st_size for path in tars)


def test_two_processes_write_the_same_bytes_as_one(pictures, shards, tmp_path):
    prepared(pictures, tmp_path / "two", workers=2)
    assert content(tmp_path / "two") == content(shards)


def test_webdataset_reads_the_shards(pictures, shards):
    found = samples(shards, "train-*.tar")
    listing = listings(pictures)["train"]
    originals = dict(zip(listing.keys, (listing.contents[row] for row in range(len(listing))), strict=True))
    fields = [json.loads(one["json"]) for one in found]
    assert sorted(one["key"] for one in fields) == sorted(originals)
    assert [one["__key__"] for one in found] == [f"{number:08d}" for number in range(len(found))]
    for one, field in zip(found, fields, strict=True):
        ending = field["key"].rpartition(".")[2].lower()
        assert one[ending] == originals[field["key"]]
        assert field["class"] == field["key"].partition("/")[0]
        label = int(one["cls"])
        assert (CLASSES.keys[label], CLASSES.names[label]) == (field["class"], field["class_name"])


def test_ood_samples_have_no_label(shards):
    found = samples(shards, "ood-near-*.tar")
    assert [json.loads(one["json"]) for one in found] == [{"key": f"{place}.png"} for place in range(OOD)]
    assert not any("cls" in one for one in found)


def test_training_pictures_are_mixed_and_the_others_stay_in_order(pictures, shards):
    keys = {
        part: [json.loads(one["json"])["key"] for one in samples(shards, f"{part}-*.tar")] for part in ("train", "test")
    }
    assert keys["test"] == list(listings(pictures)["test"].keys)
    assert keys["train"] != list(listings(pictures)["train"].keys)
    first = [key.partition("/")[0] for key in keys["train"][:9]]
    assert set(first) == set(CLASSES.keys)


def test_no_shard_is_larger_than_asked_for(shards):
    sizes = [path.stat().st_size for path in shards.glob("*.tar")]
    assert max(sizes) <= SHARD_BYTES
    assert len(sizes) > len(PICTURES)


def test_a_picture_larger_than_a_shard_has_one_of_its_own():
    found = list(plans("test", np.array([100, 90_000, 100]), 28_000, shuffle=False))
    assert [plan.rows.tolist() for plan in found] == [[0], [1], [2]]


def test_a_class_that_has_no_label_is_named_without_one(pictures, tmp_path):
    prepare(listings(pictures), Classes(("bee",), ("honey bee",)), tmp_path / "one", name="toys")
    labels = {json.loads(one["json"])["class"]: one.get("cls") for one in samples(tmp_path / "one", "test-*.tar")}
    assert labels == {"ant": None, "bee": b"0", "cat": None}


def test_pictures_in_memory_have_the_ending_of_their_format(pictures, tmp_path):
    listing = listings(pictures)["test"]
    encoded = [listing.contents[row] for row in range(3)]
    memory = Listing(["a", "b", "c"], listing.classes, listing.class_of[:3], Memory(encoded, "memory"))
    prepare({"test": memory}, CLASSES, tmp_path / "memory", name="toys")
    endings = [set(one) & {"jpg", "png", "webp"} for one in samples(tmp_path / "memory", "test-*.tar")]
    assert endings == [{"png"}, {"jpg"}, {"webp"}]


def test_a_finished_folder_is_left_as_it_is(pictures, shards):
    before = {path: path.stat().st_mtime_ns for path in shards.iterdir()}
    summary = prepared(pictures, shards)
    assert (summary.written, summary.pictures) == (0, PICTURES)
    assert {path: path.stat().st_mtime_ns for path in shards.iterdir()} == before


def test_a_finished_folder_that_lost_bytes_is_not_finished(pictures, tmp_path):
    prepared(pictures, tmp_path / "new")
    shard = tmp_path / "new" / "test-000001.tar"
    shard.write_bytes(shard.read_bytes()[:-512])
    with pytest.raises(DataError, match=r"test-000001\.tar has \d+ bytes and index\.json lists"):
        prepared(pictures, tmp_path / "new")


def test_an_interrupted_call_goes_on_where_it_stopped(pictures, shards, tmp_path, monkeypatch):
    folder, pack, written = tmp_path / "new", Packer.pack, []

    def stopping(packer, plan):
        if len(written) == 4:
            raise KeyboardInterrupt
        written.append(plan.name)
        return pack(packer, plan)

    with monkeypatch.context() as patch:
        patch.setattr(Packer, "pack", stopping)
        with pytest.raises(KeyboardInterrupt):
            prepared(pictures, folder)
    assert not (folder / "index.json").exists()
    (folder / ".partial" / f"{written[0]}.1234abcd.tmp").write_bytes(b"half a shard")
    (folder / ".index.json.1234abcd.tmp").write_bytes(b"half an index")
    kept = {name: (folder / name).stat().st_mtime_ns for name in written}
    summary = prepared(pictures, folder)
    assert (summary.written, summary.shards) == (summary.shards - 4, len(list(shards.glob("*.tar"))))
    assert {name: (folder / name).stat().st_mtime_ns for name in written} == kept
    assert content(folder) == content(shards)


@pytest.mark.parametrize("damage", ["no sidecar", "short shard", "damaged sidecar"])
def test_a_shard_that_is_not_surely_whole_is_written_again(pictures, shards, tmp_path, monkeypatch, damage):
    folder = tmp_path / "new"
    with monkeypatch.context() as patch:
        patch.setattr("negprompt.data.shards.prepare.write_rows", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            prepared(pictures, folder)
    sidecar, shard = folder / ".partial" / "train-000001.tar.npz", folder / "train-000001.tar"
    if damage == "no sidecar":
        sidecar.unlink()
    elif damage == "short shard":
        shard.write_bytes(shard.read_bytes()[:-1])
    else:
        sidecar.write_bytes(sidecar.read_bytes()[:100])
    assert prepared(pictures, folder).written == 1
    assert content(folder) == content(shards)


SLOW = """
import sys, time
from pathlib import Path
from negprompt.data.shards import packing
from shard_folders import prepared

decode = packing.decode
packing.decode = lambda *args: (time.sleep(0.03), decode(*args))[1]
prepared(Path(sys.argv[1]), Path(sys.argv[2]), workers=2)
"""


def test_a_killed_process_leaves_nothing_behind_that_hinders_the_next(pictures, shards, tmp_path):
    folder = tmp_path / "new"
    tests = Path(__file__).resolve().parents[1]
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(SLOW), str(pictures), str(folder)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tests), *filter(None, sys.path)])},
    )
    deadline = time.monotonic() + 60
    while not (folder / ".partial").is_dir() or len(list((folder / ".partial").glob("*.npz"))) < 2:
        assert process.poll() is None, "it ended before it was killed"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    summary = prepared(pictures, folder)
    assert 0 < summary.written < summary.shards
    assert content(folder) == content(shards)


@pytest.mark.parametrize(
    "changes", [{"max_bytes": 40_000}, {"name": "others"}, {"shuffle": frozenset()}, {"corrupt": "skip"}]
)
def test_a_folder_is_not_used_for_another_request(pictures, shards, tmp_path, monkeypatch, changes):
    with pytest.raises(DataError, match=r"holds finished shards of 'toys'.*set another output"):
        prepared(pictures, shards, **changes)
    monkeypatch.setattr("negprompt.data.shards.prepare.write_rows", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        prepared(pictures, tmp_path / "new")
    with pytest.raises(DataError, match=r"holds an unfinished preparation.*set another output"):
        prepared(pictures, tmp_path / "new", **changes)


def test_a_folder_with_shards_of_somebody_else_is_not_touched(pictures, tmp_path):
    (tmp_path / "train-000000.tar").write_bytes(b"precious")
    with pytest.raises(DataError, match=r"holds files like train-000000\.tar"):
        prepared(pictures, tmp_path)
    assert (tmp_path / "train-000000.tar").read_bytes() == b"precious"


@pytest.mark.parametrize("workers", [1, 2])
def test_a_corrupt_picture_stops_and_is_named_with_its_path(spoilt, tmp_path, workers):
    with pytest.raises(DataError, match=r"Picture 'bee/02\.png' of train \(.*train/bee/02\.png\)"):
        prepared(spoilt, tmp_path / "new", workers=workers)
    assert not (tmp_path / "new" / "index.json").exists()


def test_a_corrupt_picture_is_left_out_and_counted_on_request(spoilt, tmp_path, caplog):
    summary = prepared(spoilt, tmp_path / "one", corrupt="skip")
    assert summary.dropped == {"train": 1, "test": 0, "ood/near": 0, "ood/far": 0}
    assert summary.pictures["train"] == PICTURES["train"] - 1
    assert "left out: picture 'bee/02.png' of train" in caplog.text
    keys = {json.loads(one["json"])["key"] for one in samples(tmp_path / "one", "train-*.tar")}
    assert keys == set(listings(spoilt)["train"].keys) - {"bee/02.png"}
    prepared(spoilt, tmp_path / "two", corrupt="skip", workers=2)
    assert content(tmp_path / "two") == content(tmp_path / "one")


def test_a_missing_picture_is_never_left_out(pictures, tmp_path):
    sets = listings(pictures)
    (pictures / "test" / "cat" / "03.webp").rename(pictures / "elsewhere")
    try:
        with pytest.raises(DataError, match=r"1 of 12 pictures of test are missing, for example .*cat/03\.webp"):
            prepare(sets, CLASSES, tmp_path / "new", name="toys", corrupt="skip")
    finally:
        (pictures / "elsewhere").rename(pictures / "test" / "cat" / "03.webp")


@pytest.mark.parametrize(
    ("number", "cause"), [(errno.ENOSPC, "the disk is full"), (errno.EROFS, "the file system is read-only")]
)
def test_a_disk_that_takes_no_more_is_said_and_what_is_done_stays(
    pictures, shards, tmp_path, monkeypatch, number, cause
):
    sync, calls = os.fsync, []

    def full(descriptor):
        calls.append(descriptor)
        if len(calls) == 9:
            raise OSError(number, "the system's words")
        sync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr("negprompt.data.shards.packing.os.fsync", full)
        with pytest.raises(RunError, match=rf"Cannot write .*\.tar.*: {cause}\. .* output=<folder>"):
            prepared(pictures, tmp_path / "new")
    assert not list((tmp_path / "new" / ".partial").glob("*.tmp"))
    assert 0 < prepared(pictures, tmp_path / "new").written < len(list(shards.glob("*.tar")))
    assert content(tmp_path / "new") == content(shards)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_said(pictures, tmp_path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(RunError, match="no permission to write there"):
            prepared(pictures, tmp_path / "new")
    finally:
        tmp_path.chmod(0o700)


def test_a_file_in_the_way_is_said(pictures, tmp_path):
    (tmp_path / "new").write_bytes(b"")
    with pytest.raises(DataError, match="is a file: give another output"):
        prepared(pictures, tmp_path / "new")


def test_sets_that_would_share_files_are_refused(pictures, tmp_path):
    sets = listings(pictures)
    with pytest.raises(DataError, match="'ood/near' and 'ood-near' would be in the same files"):
        prepare({"ood/near": sets["ood/near"], "ood-near": sets["ood/near"]}, CLASSES, tmp_path / "new", name="toys")
    with pytest.raises(DataError, match=r"'\.\./up' cannot name files"):
        prepare({"../up": sets["ood/near"]}, CLASSES, tmp_path / "new", name="toys")


def test_no_process_is_refused(pictures, tmp_path):
    with pytest.raises(DataError, match="workers=0: at least one"):
        prepared(pictures, tmp_path / "new", workers=0)
