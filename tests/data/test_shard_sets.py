"""Pictures in shards are the pictures in files: same names, labels, draws, batches; damage is named."""

from __future__ import annotations

import functools
import hashlib
import io
import itertools
import json
import pickle
import resource
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import encoded, picture
from shard_folders import CLASSES, SHOTS, ToysID, ToysOOD, listings, prepared, write_pictures
from torch.utils.data import DataLoader

from negprompt.data.base import Augmentation, load_split
from negprompt.data.classes import Classes
from negprompt.data.contents import AlteredError, Memory, digests
from negprompt.data.datamodule import ImageDataset, SequentialBatches, _as_is
from negprompt.data.listing import Listing
from negprompt.data.shards import members as shard_members
from negprompt.data.shards.folder import ShardFolder
from negprompt.data.shards.prepare import prepare
from negprompt.errors import DataError
from negprompt.training.sampler import EpochBatchSampler
from negprompt.types import ImageSpec

SPEC = ImageSpec(16, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "bilinear")
SETS = ("train", "test", "ood/near", "ood/far")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return write_pictures(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="module")
def whole(pictures, tmp_path_factory):
    folder = tmp_path_factory.mktemp("prepared") / "shards"
    prepared(pictures, folder)
    return folder


@pytest.fixture
def shards(pictures, tmp_path):
    """Shards that a test may damage."""
    prepared(pictures, tmp_path / "shards")
    return tmp_path / "shards"


def opened(folder, set_name="train"):
    return ShardFolder.open(str(folder), None, 1.0).listing(set_name)


def split_of(root, folder=None, seed=1, **changes):
    where = {"root": str(root), "shards": None if folder is None else str(folder), **changes}
    id_sets = ToysID(name="toys", num_shots=SHOTS, **where)
    return load_split(id_sets, ToysOOD(name="toys", **where), seed)


def change(folder, set_name, row):
    """Change one byte of a picture in its shard; returns the shard's name and the picture's key."""
    listing = opened(folder, set_name)
    members = listing.contents.members
    path = folder / listing.contents.shards.files[members.shard[row]].name
    with path.open("r+b") as file:
        file.seek(int(members.offset[row]) + 40)
        byte = file.read(1)[0]
        file.seek(-1, io.SEEK_CUR)
        file.write(bytes([byte ^ 255]))
    return path.name, listing.keys[row]


# --- the same as from files ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("set_name", SETS)
def test_names_classes_and_contents_are_those_of_the_files(pictures, whole, set_name):
    files, members = listings(pictures)[set_name], opened(whole, set_name)
    assert list(members.keys) == list(files.keys)
    assert members.classes == files.classes
    assert members.class_of.tolist() == files.class_of.tolist()
    assert list(members.contents) == list(files.contents)
    assert np.array_equal(members.contents.known, digests(files.contents))


def test_sets_and_classes_are_those_that_were_prepared(whole):
    folder = ShardFolder.open(str(whole), None, 1.0)
    assert folder.set_names() == SETS
    assert folder.classes() == CLASSES


@pytest.mark.parametrize("seed", [1, 2])
def test_the_draw_and_the_hash_of_the_split_are_those_of_the_files(pictures, whole, seed):
    files, members = split_of(pictures, seed=seed), split_of(pictures, whole, seed)
    assert list(members.train.keys) == list(files.train.keys)
    assert members.train.labels == files.train.labels
    assert members.sha256 == files.sha256
    assert split_of(pictures, seed=3).sha256 != files.sha256


def test_the_draw_reads_no_shard(pictures, whole, monkeypatch):
    monkeypatch.setattr(shard_members.os, "pread", lambda *_: 1 / 0)
    split = split_of(pictures, whole)
    with pytest.raises(ZeroDivisionError):
        split.train.encoded[0]


def test_some_of_the_pictures_are_taken_in_the_order_asked_for(whole):
    listing = opened(whole)
    taken = listing.take(np.array([20, 3, 11]))
    assert list(taken.contents) == [listing.contents[row] for row in (20, 3, 11)]
    assert taken.contents.place(1).endswith(f".tar, key {listing.keys[3]}")


# --- every sample exactly once -------------------------------------------------------------------------------------


def sources(pictures, whole):
    return {"files": split_of(pictures), "shards": split_of(pictures, whole)}


def batches_of(images, sampler, workers):
    dataset = ImageDataset(images, SPEC, Augmentation(), seed=5)
    return list(DataLoader(dataset, batch_sampler=sampler, collate_fn=_as_is, num_workers=workers))


def train_indices(images, nodes, workers, *, done=0, batch_size=4):
    """Rows of each global batch from batch `done` on: what all nodes train on together."""
    parts = [
        batches_of(images, EpochBatchSampler(len(images.keys), batch_size, 3, lambda: done, node, nodes), workers)
        for node in range(nodes)
    ]
    return [sorted(itertools.chain(*(one["index"].tolist() for one in step))) for step in zip(*parts, strict=True)]


@pytest.mark.parametrize("kind", ["files", "shards"])
@pytest.mark.parametrize(("nodes", "workers"), [(1, 0), (1, 3), (2, 0), (2, 2), (3, 0), (3, 1)])
def test_an_epoch_is_the_same_batches_for_any_number_of_nodes_and_workers(pictures, whole, kind, nodes, workers):
    images = sources(pictures, whole)[kind].test._replace(name="train")  # 12 pictures, and batches of 5
    expected = train_indices(sources(pictures, whole)["files"].test, 1, 0, batch_size=5)
    found = train_indices(images, nodes, workers, batch_size=5)
    assert found == expected
    seen = [row for batch in found for row in batch]
    assert len(seen) == len(set(seen)) == 10  # the last, incomplete batch is left out


@pytest.mark.parametrize("kind", ["files", "shards"])
@pytest.mark.parametrize(("nodes", "workers"), [(1, 0), (1, 2), (2, 1), (3, 0), (3, 3)])
def test_a_test_set_is_seen_once_by_all_nodes_together(pictures, whole, kind, nodes, workers, monkeypatch):
    images = sources(pictures, whole)[kind].test
    seen = []
    for node in range(nodes):
        monkeypatch.setattr("negprompt.data.datamodule.rank", lambda node=node: node)
        monkeypatch.setattr("negprompt.data.datamodule.world_size", lambda: nodes)
        for batch in batches_of(images, SequentialBatches(len(images.keys), 3), workers):
            seen += batch["index"].tolist()
    assert sorted(seen) == list(range(len(images.keys)))


@pytest.mark.parametrize("workers", [0, 2])
def test_pixels_and_labels_are_those_of_the_files(pictures, whole, workers):
    found = {}
    for kind, split in sources(pictures, whole).items():
        sampler = EpochBatchSampler(len(split.train.keys), 4, 3, lambda: 0)
        found[kind] = batches_of(split.train, sampler, workers)
    for one, other in zip(found["files"], found["shards"], strict=True):
        assert all(torch.equal(one[key], other[key]) for key in ("image", "label", "index"))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_stopped_in_an_epoch_goes_on_with_the_very_next_batches(pictures, whole, workers):
    images = split_of(pictures, whole).test
    epochs = [train_indices(images, 1, 0, done=3 * epoch) for epoch in range(2)]
    assert train_indices(images, 1, workers, done=4) == epochs[1][1:]
    assert train_indices(images, 2, workers, done=2) == epochs[0][2:]


# --- processes, threads, memory ------------------------------------------------------------------------------------


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_loader_workers_read_what_this_process_reads(whole, context):
    listing = opened(whole, "test")
    expected = [hashlib.sha256(one).hexdigest() for one in listing.contents]  # leaves files open
    images = listing.image_set("test", listing.labels(CLASSES.keys))
    loader = DataLoader(images.encoded, batch_size=None, num_workers=2, multiprocessing_context=context)
    assert [hashlib.sha256(one).hexdigest() for one in loader] == expected


def test_a_pickled_listing_reads_the_same_pictures(whole):
    listing = opened(whole)
    again = pickle.loads(pickle.dumps(listing))
    assert list(again.keys) == list(listing.keys)
    assert list(again.contents) == list(listing.contents)


def test_threads_read_side_by_side_with_fewer_open_files_than_shards(whole, monkeypatch):
    few = functools.lru_cache(2)(shard_members._Open)
    monkeypatch.setattr(shard_members, "_opened", few)
    listing = opened(whole)
    expected = list(listing.contents)
    rows = np.random.default_rng(1).integers(0, len(listing), 400)
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(listing.contents.read, rows)) == [expected[row] for row in rows]


def test_a_process_keeps_few_files_open(pictures, tmp_path):
    prepared(pictures, tmp_path / "many", max_bytes=1)
    listing = opened(tmp_path / "many")
    assert len(listing.contents.shards.files) == len(listing)
    shard_members._opened.cache_clear()
    before = len(list(Path("/dev/fd").iterdir()))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (before + shard_members._OPEN_FILES + 8, hard))
    try:
        for set_name in SETS:
            assert len(list(opened(tmp_path / "many", set_name).contents)) > 0
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_reading_takes_the_memory_of_a_picture_and_not_of_its_shard(tmp_path):

    rng = np.random.default_rng(0)
    one = encoded(picture(0.1, 1), "png")
    padded = [one + rng.bytes(200_000) for _ in range(40)]  # 8 MB; decoders read what they need
    listing = Listing([f"{row}.png" for row in range(40)], (), np.full(40, -1, np.int32), Memory(padded, "memory"))
    prepare({"test": listing}, Classes(("a",), ("a",)), tmp_path / "shards", name="large", max_bytes=10**8)
    members = opened(tmp_path / "shards", "test").contents
    tracemalloc.start()
    for row in (0, 39, 20):
        assert members[row] == padded[row]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000


# --- damage --------------------------------------------------------------------------------------------------------


def test_a_changed_byte_is_named_with_shard_and_key(shards):
    shard, key = change(shards, "test", 5)
    listing = opened(shards, "test")
    with pytest.raises(AlteredError, match=rf"Picture '{key}' in shard .*{shard} is not what the index lists.*copy"):
        listing.contents[5]
    assert len(listing.contents[4]) > 0


def test_a_shard_that_got_shorter_while_it_is_used_is_named_with_the_key(shards):
    listing = opened(shards, "test")
    path = shards / listing.contents.shards.files[-1].name
    path.write_bytes(path.read_bytes()[: int(listing.contents.members.offset[-1]) + 10])
    with pytest.raises(
        AlteredError, match=rf"'{listing.keys[-1]}' in shard .*{path.name} ends after 10 of its \d+ bytes"
    ):
        listing.contents[len(listing) - 1]


def test_a_shard_that_is_copied_again_is_read_without_a_new_start(pictures, shards):
    good = (shards / "test-000000.tar").read_bytes()
    change(shards, "test", 0)
    listing = opened(shards, "test")
    with pytest.raises(AlteredError):
        listing.contents[0]
    (shards / "copy").write_bytes(good)
    (shards / "copy").replace(shards / "test-000000.tar")
    assert listing.contents[0] == listings(pictures)["test"].contents[0]


def test_a_corrupt_sample_stops_a_loader_and_is_named_with_shard_and_key(pictures, shards):
    shard, key = change(shards, "test", 5)
    split = split_of(pictures, shards)
    dataset = ImageDataset(split.test, SPEC)
    with pytest.raises(DataError, match=rf"'{key}' in shard .*{shard}"):
        list(DataLoader(dataset, batch_sampler=SequentialBatches(12, 4), collate_fn=_as_is))


def test_a_picture_that_cannot_be_decoded_is_named_with_shard_and_key(pictures, tmp_path):
    root = write_pictures(tmp_path / "spoilt")
    path = root / "test" / "ant" / "01.JPEG"
    path.write_bytes(path.read_bytes()[:400])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("negprompt.data.shards.packing.decode", lambda *_: None)
        prepared(root, tmp_path / "shards")
    images = split_of(root, tmp_path / "shards").test
    with pytest.raises(DataError, match=r"'ant/01\.JPEG' of toys/test \(shard .*test-000000\.tar, key ant/01\.JPEG\)"):
        list(ImageDataset(images, SPEC).decoded([1]))


def test_corrupt_samples_are_left_out_and_counted_on_request(pictures, shards, tmp_path, caplog):
    shard, key = change(shards, "test", 5)
    split = split_of(pictures, shards, corrupt="skip", cache_dir=str(tmp_path / "cache"))
    assert (split.test.dropped, split.dropped) == (1, 1)
    assert list(split.test.keys) == [one for one in listings(pictures)["test"].keys if one != key]
    assert any(shard in record.message and key in record.message for record in caplog.records)


def test_what_was_skipped_is_remembered_until_the_shard_changes(pictures, shards, tmp_path, monkeypatch):
    good = (shards / "test-000000.tar").read_bytes()
    _, key = change(shards, "test", 0)
    asked = {"corrupt": "skip", "cache_dir": str(tmp_path / "cache")}
    assert split_of(pictures, shards, **asked).dropped == 1
    with monkeypatch.context() as patch:
        patch.setattr("negprompt.data.looked._is_readable", lambda _: 1 / 0)
        assert split_of(pictures, shards, **asked).dropped == 1
    (shards / "test-000000.tar").write_bytes(good)
    split = split_of(pictures, shards, **asked)
    assert (split.dropped, split.test.keys[0]) == (0, key)


def test_a_shard_that_cannot_be_read_is_no_corrupt_sample(pictures, shards, monkeypatch):
    def broken(*_):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(shard_members.os, "pread", broken)
    with pytest.raises(DataError, match=r"\.tar cannot be read \(Input/output error\)"):
        split_of(pictures, shards, corrupt="skip")


def test_nothing_is_read_of_shards_where_corrupt_samples_stop(pictures, whole, monkeypatch):
    monkeypatch.setattr(shard_members.os, "pread", lambda *_: 1 / 0)
    assert len(split_of(pictures, whole, corrupt="stop").test.keys) == 12


# --- folders that are not whole ------------------------------------------------------------------------------------


def test_a_folder_without_index_is_named_with_the_ways_out(tmp_path):
    with pytest.raises(DataError, match=rf"data\.shards={tmp_path}: there is no index\.json .*data prepare.*null"):
        ShardFolder.open(str(tmp_path), None, 1.0)


@pytest.mark.parametrize(
    "text",
    ["", "[]", '{"schema": 1}', '{"schema": 1, "class_keys": [], "class_names": [], "sets": {"test": {"rows": "a"}}}'],
)
def test_a_damaged_index_is_named(tmp_path, text):
    (tmp_path / "index.json").write_text(text)
    with pytest.raises(DataError, match=rf"{tmp_path}/index\.json is damaged .*: copy it again, or prepare"):
        ShardFolder.open(str(tmp_path), None, 1.0)


def edited(folder, edit):
    index = json.loads((folder / "index.json").read_text())
    edit(index)
    (folder / "index.json").write_text(json.dumps(index))


def test_an_index_of_another_version_is_refused(shards):
    edited(shards, lambda index: index.update(schema=99))
    with pytest.raises(DataError, match=r"has schema 99 and this negprompt reads 1: prepare the shards again"):
        opened(shards)


def test_names_that_lead_out_of_the_folder_are_refused(shards):
    edited(shards, lambda index: index["sets"]["train"]["shards"][0].update(name="../../secret"))
    with pytest.raises(DataError, match=r"'\.\./\.\./secret' is no file's name"):
        opened(shards)


def test_an_unknown_set_is_refused_with_those_that_are_there(whole):
    with pytest.raises(DataError, match=r"no set 'ood/nera'; did you mean 'ood/near'\?"):
        opened(whole, "ood/nera")


def test_a_missing_shard_and_one_of_another_size_are_named(shards):
    (shards / "test-000001.tar").rename(shards / "away")
    with pytest.raises(DataError, match=r"Shard .*test-000001\.tar is missing .*copy it again"):
        opened(shards, "test")
    (shards / "test-000001.tar").write_bytes((shards / "away").read_bytes()[:-100])
    with pytest.raises(DataError, match=r"test-000001\.tar has \d+ bytes and index\.json lists \d+"):
        opened(shards, "test")
    assert len(opened(shards, "train")) == 21


def test_rows_that_are_damaged_or_of_another_preparation_are_refused(shards, pictures, tmp_path):
    rows = shards / "test.npz"
    rows.write_bytes(rows.read_bytes()[:-200])
    with pytest.raises(DataError, match=r"test\.npz is damaged or belongs to another index\.json"):
        opened(shards, "test")
    prepared(pictures, tmp_path / "other", max_bytes=10**6)
    rows.write_bytes((tmp_path / "other" / "test.npz").read_bytes())
    with pytest.raises(DataError, match=r"belongs to another index\.json"):
        opened(shards, "test")
    rows.unlink()
    with pytest.raises(DataError, match=r"test\.npz cannot be read \(No such file"):
        opened(shards, "test")
