"""Loaders over pictures: order, labels, and augmentation by (seed, epoch, row)."""

from __future__ import annotations

import pytest
import torch
from helpers import CLASS_NAMES, SPEC, image_set

from negprompt.data.base import Augmentation
from negprompt.data.datamodule import ImageDataset, OODDataModule, SequentialBatches
from negprompt.data.decoding import decode
from negprompt.data.transforms import test_image as pixels_of
from negprompt.data.transforms import train_image
from negprompt.training.sampler import EpochBatchSampler
from negprompt.types import SampleIndex, Split

TRAIN, TEST, NEAR = image_set(9, "train"), image_set(7, "test"), image_set(5, "near")._replace(labels=[-1] * 5)


@pytest.fixture
def data():
    split = Split("some", CLASS_NAMES[:4], 4, TRAIN, TEST, {"near": NEAR}, "")
    return OODDataModule(
        split,
        SPEC,
        Augmentation(),
        seed=3,
        eval_batch_size=4,
        num_workers=0,
        train_batches=lambda num_samples, batches_done: EpochBatchSampler(num_samples, 4, 3, batches_done),
    )


def original(images, row):
    return decode(images.encoded[row], images.keys[row], images.name)


def test_every_picture_comes_once_and_in_order():
    batches = list(SequentialBatches(5, 3))
    assert [tuple(sample) for batch in batches for sample in batch] == [(row, 0) for row in range(5)]
    assert [len(batch) for batch in batches] == [3, 2]
    assert len(SequentialBatches(5, 3)) == 2


def test_test_loaders_are_the_id_set_and_then_the_ood_sets_whole_and_in_order(data):
    for loader, images in zip(data.test_dataloader(), (TEST, NEAR), strict=True):
        batches = list(loader)
        assert torch.cat([batch["index"] for batch in batches]).tolist() == list(range(len(images.keys)))
        assert torch.cat([batch["label"] for batch in batches]).tolist() == images.labels
        pixels = torch.cat([batch["image"] for batch in batches])
        assert all(torch.equal(pixels[row], pixels_of(original(images, row), SPEC)) for row in range(len(pixels)))


def test_training_pictures_are_the_augmentation_of_their_row_and_epoch(data):
    for batch in data.train_dataloader():
        for pixels, label, row in zip(batch["image"], batch["label"], batch["index"].tolist(), strict=True):
            expected = train_image(original(TRAIN, row), SPEC, Augmentation(), 3, SampleIndex(row, 0))
            assert torch.equal(pixels, expected)
            assert int(label) == TRAIN.labels[row]


def test_views_are_the_augmentations_of_the_first_epochs():
    dataset = ImageDataset(TRAIN, SPEC, Augmentation(), 3)
    where = [SampleIndex(row, epoch) for row in (0, 8) for epoch in (0, 1)]
    for pixels, sample in zip(dataset.__getitems__(where)["image"], where, strict=True):
        assert torch.equal(pixels, train_image(original(TRAIN, sample.row), SPEC, Augmentation(), 3, sample))
