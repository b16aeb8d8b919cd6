"""Pictures with captions: every pair once an epoch, whoever reads it, and what is wrong in a shard is named."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import SPEC, encoded, picture, write_captions, write_shard

from negprompt.data.base import Augmentation
from negprompt.data.caption_loader import CaptionDataset
from negprompt.data.captions import load_captions
from negprompt.errors import DataError
from negprompt.training.sampler import EpochBatchSampler
from negprompt.types import SampleIndex

PAIRS, SHARDS = 24, 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_captions(tmp_path_factory.mktemp("captions"), shards=SHARDS, pairs=PAIRS)


def load(folder, cache=None, corrupt="stop"):
    return load_captions(str(folder), cache, 1.0, corrupt)


def shard(tmp_path, **members):
    """A shard of one sample with these members."""
    given = {"webp": encoded(picture(0.1, 1)), **members}
    write_shard(tmp_path / "one.tar", [(f"0001.{ending}", content) for ending, content in given.items()])
    return tmp_path / "one.tar"


# --- what is read --------------------------------------------------------------------------------------------------


def test_pairs_come_in_the_order_of_the_shards(folder):
    captions = load(folder)
    assert len(captions.pictures) == SHARDS * PAIRS
    assert captions.text(0) == "a picture of a anchor"  # from .txt
    assert captions.text(1) == "a picture of a bell"  # from .json
    assert captions.text(PAIRS) == "a picture of a bell"
    assert captions.shard_of.tolist() == [number for number in range(SHARDS) for _ in range(PAIRS)]


@pytest.mark.parametrize(
    ("members", "text"),
    [
        ({"txt": b"  a dog\n on grass "}, "a dog on grass"),
        ({"json": b'{"caption": "a dog", "name": "dog"}'}, "a dog"),
        ({"json": b'{"name": "dog"}'}, "dog"),
        ({"json": b'{"caption": "in json"}', "txt": b"in txt"}, "in txt"),
    ],
)
def test_a_caption_may_lie_in_several_places(tmp_path, members, text):
    assert load(shard(tmp_path, **members)).text(0) == text


@pytest.mark.parametrize("members", [{}, {"json": b"{}"}, {"txt": b" \n"}, {"json": b'{"caption": 3}'}, {"cls": b"1"}])
def test_a_sample_without_a_caption_is_named(tmp_path, members):
    with pytest.raises(DataError, match=r"Sample '0001' of shard .*one\.tar has no caption in \.txt"):
        load(shard(tmp_path, **members))


def test_a_picture_that_cannot_be_decoded_is_named_or_left_out(tmp_path):
    write_captions(tmp_path, shards=1, pairs=4)
    members = [("bad.webp", b"RIFF nothing"), ("bad.txt", b"a broken picture"), *sample("good", "a whole picture")]
    write_shard(tmp_path / "more.tar", members)
    stopping = load(tmp_path)
    with pytest.raises(DataError, match=r"Picture 'more/bad' of captions .*more\.tar"):
        dataset(stopping).__getitems__([SampleIndex(4, 0)])
    skipping = load(tmp_path, corrupt="skip")
    assert len(skipping.pictures) == 5
    assert skipping.text(4) == "a whole picture"
    assert skipping.sha256() != stopping.sha256()


def sample(key, text):
    return [(f"{key}.webp", encoded(picture(0.3, 2))), (f"{key}.txt", text.encode())]


def test_the_hash_follows_pictures_and_texts_and_not_their_place(tmp_path, folder):
    again = write_captions(tmp_path / "elsewhere", shards=SHARDS, pairs=PAIRS)
    for number, file in enumerate(sorted(again.glob("*.tar"))):
        file.rename(file.with_name(f"part-{number}.tar"))
    assert load(again).sha256() == load(folder).sha256()
    other = write_captions(tmp_path / "other", shards=SHARDS, pairs=PAIRS - 1)
    assert load(other).sha256() != load(folder).sha256()


def test_a_look_is_remembered(tmp_path, folder, monkeypatch):
    first = load(folder, tmp_path)
    monkeypatch.setattr("negprompt.data.own_shards.scan", None)
    from negprompt.data import own_shards

    own_shards._scan.cache_clear()
    assert load(folder, tmp_path).sha256() == first.sha256()


def test_no_pair_at_all_is_an_error(tmp_path):
    write_shard(tmp_path / "empty.tar", [])
    with pytest.raises(DataError, match="no picture"):
        load(tmp_path / "empty.tar")


# --- order ---------------------------------------------------------------------------------------------------------


def batches(captions, done=0, rank=0, world_size=1, batch_size=8):
    sampler = EpochBatchSampler(
        len(captions.pictures),
        batch_size,
        1,
        lambda: done,
        rank,
        world_size,
        order=lambda epoch: captions.order(1, epoch),
    )
    return [[sample.row for sample in batch] for batch in sampler]


def test_an_epoch_has_each_pair_once_in_an_order_of_its_own(folder):
    captions = load(folder)
    orders = [captions.order(1, epoch).tolist() for epoch in range(3)]
    assert all(sorted(order) == list(range(SHARDS * PAIRS)) for order in orders)
    assert orders[0] != orders[1] != orders[2]
    assert captions.order(1, 0).tolist() == orders[0]
    assert captions.order(2, 0).tolist() != orders[0]


def test_far_shards_are_read_one_group_after_the_other(monkeypatch, folder):
    monkeypatch.setattr("negprompt.data.captions._SHARDS_AT_ONCE", 1)
    captions = load(folder)
    numbers = captions.shard_of[captions.order(1, 0)]
    assert len(np.flatnonzero(np.diff(numbers))) == SHARDS - 1
    assert sorted(captions.order(1, 0).tolist()) == list(range(SHARDS * PAIRS))


@pytest.mark.parametrize("world_size", [2, 3])
def test_processes_share_each_batch_without_loss_or_repetition(folder, world_size):
    captions = load(folder)
    parts = [batches(captions, rank=rank, world_size=world_size) for rank in range(world_size)]
    for whole, *shares in zip(batches(captions), *parts, strict=True):
        assert sorted(whole) == sorted(row for share in shares for row in share)


def test_a_stopped_epoch_goes_on_with_the_very_next_pair(folder):
    captions = load(folder)
    assert batches(captions, done=4) == batches(captions)[4:]


# --- batches -------------------------------------------------------------------------------------------------------


def dataset(captions, seed=1):
    def tokenize(text):
        return [1, *map(ord, text), 2]

    return CaptionDataset(captions, SPEC, Augmentation(scale_min=0.9, flip=0.0), seed, tokenize)


def test_a_batch_holds_pictures_tokens_and_where_they_come_from(folder):
    batch = dataset(load(folder)).__getitems__([SampleIndex(5, 2), SampleIndex(0, 2)])
    assert batch["image"].shape == (2, 3, 32, 32)
    assert batch["row"].tolist() == [5, 0]
    assert batch["epoch"].tolist() == [2, 2]
    assert batch["tokens"].gather(1, batch["end"].unsqueeze(1)).flatten().tolist() == [2, 2]
    assert int((batch["tokens"][1] != 0).sum()) == int(batch["end"][1]) + 1


def test_a_picture_is_augmented_by_seed_epoch_and_row(folder):
    captions = load(folder)

    def image(seed, epoch):
        return dataset(captions, seed).__getitems__([SampleIndex(7, epoch)])["image"]

    assert torch.equal(image(1, 0), image(1, 0))
    assert not torch.equal(image(1, 0), image(1, 1))
    assert not torch.equal(image(1, 0), image(2, 0))


def test_captions_written_for_tests_are_what_webdataset_reads(folder):
    import webdataset

    urls = [str(path) for path in sorted(Path(folder).glob("*.tar"))]
    read = list(webdataset.WebDataset(urls, shardshuffle=False, empty_check=False))
    texts = [raw["txt"].decode() if "txt" in raw else json.loads(raw["json"])["caption"] for raw in read]
    captions = load(folder)
    assert texts == [captions.text(row) for row in range(len(texts))]
    assert [raw["webp"] for raw in read] == list(captions.pictures.contents)
