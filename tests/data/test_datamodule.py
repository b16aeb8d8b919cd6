"""Loaders over pictures: order, labels, and augmentation by (seed, epoch, row)."""

from __future__ import annotations

import multiprocessing
from types import SimpleNamespace

import pytest
import torch
from helpers import CLASS_NAMES, SPEC, image_set
from shard_folders import ToysID, ToysOOD, prepared, write_pictures

from negprompt.data.base import Augmentation, load_split
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


# --- files, shards, shards elsewhere -------------------------------------------------------------------------------

SOURCES = ("files", "shards", "remote shards")
SEED, SHOTS, BATCH = 3, 3, 4


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """Settings by the kind of place that the same pictures lie in."""
    top = tmp_path_factory.mktemp("places")
    write_pictures(top / "pictures")
    prepared(top / "pictures", top / "shards")
    shared = {"name": "toys", "root": str(top / "pictures"), "cache_dir": str(top / "cache")}
    remote = f"pipe:cat {top / 'shards'}/{{}}"
    return {
        "files": shared,
        "shards": {**shared, "root": "gone", "shards": str(top / "shards")},
        "remote shards": {**shared, "root": "gone", "shards": remote},
    }


def split_at(place, seed=SEED):
    return load_split(ToysID(num_shots=SHOTS, **place), ToysOOD(**place), seed)


def module_of(split, num_workers=0, val=None, seed=SEED):
    """As `Workbench` makes it."""
    return OODDataModule(
        split,
        SPEC,
        Augmentation(),
        seed=seed,
        eval_batch_size=5,
        num_workers=num_workers,
        train_batches=lambda num_samples, batches_done: EpochBatchSampler(num_samples, BATCH, seed, batches_done),
        val=val,
    )


def on_cpu(module):
    """The module with a stand-in for a trainer on a CPU; returns what counts its batches."""
    progress = SimpleNamespace(ready=0)
    loop = SimpleNamespace(epoch_loop=SimpleNamespace(batch_progress=SimpleNamespace(total=progress)))
    module.trainer = SimpleNamespace(fit_loop=loop, strategy=SimpleNamespace(root_device=torch.device("cpu")))
    return progress


def trained_on(module, epochs, done=0):
    """All batches from the given one to the end of `epochs`, by one loader as in a fit."""
    progress, batches = on_cpu(module), []
    progress.ready = done
    loader = module.train_dataloader()
    while progress.ready < epochs * len(loader):
        for batch in loader:
            batches.append(batch)
            progress.ready += 1
    return batches


def assert_same(batches, others):
    for batch, other in zip(batches, others, strict=True):
        assert batch.keys() == other.keys()
        assert all(torch.equal(batch[name], other[name]) for name in batch)


@pytest.fixture(scope="module")
def reference(places):
    """Batches of two epochs from files, without loader processes."""
    return trained_on(module_of(split_at(places["files"])), 2)


def test_epochs_are_whole_and_differ_in_order_and_pixels(reference):
    first, second = reference[:2], reference[2:]
    rows = [torch.cat([batch["index"] for batch in epoch]).tolist() for epoch in (first, second)]
    assert all(len(set(epoch)) == len(epoch) == 2 * BATCH for epoch in rows)
    assert rows[0] != rows[1]
    both = set(rows[0]) & set(rows[1])
    pixels = [
        {row: image for batch in epoch for row, image in zip(batch["index"].tolist(), batch["image"], strict=True)}
        for epoch in (first, second)
    ]
    assert not any(torch.equal(pixels[0][row], pixels[1][row]) for row in both)


@pytest.mark.parametrize("num_workers", [0, 1, 3])
@pytest.mark.parametrize("source", SOURCES)
def test_training_batches_do_not_depend_on_where_pictures_lie_or_on_who_decodes_them(
    places, reference, source, num_workers
):
    split = split_at(places[source])
    assert split.sha256 == split_at(places["files"]).sha256
    assert_same(trained_on(module_of(split, num_workers), 2), reference)


def test_another_seed_has_other_batches(places, reference):
    other = trained_on(module_of(split_at(places["files"]), seed=SEED + 1), 2)
    assert [batch["index"].tolist() for batch in other] != [batch["index"].tolist() for batch in reference]


@pytest.mark.parametrize("done", [1, 2, 3])
@pytest.mark.parametrize(("source", "num_workers"), [("files", 2), ("shards", 2), ("remote shards", 0)])
def test_a_run_that_goes_on_in_the_middle_gets_the_very_next_batches(places, reference, source, num_workers, done):
    assert_same(trained_on(module_of(split_at(places[source]), num_workers), 2, done), reference[done:])


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("source", SOURCES)
def test_every_test_picture_is_decoded_once_in_order_wherever_it_lies(places, source, num_workers):
    expected = split_at(places["files"]).test_sets()
    module = module_of(split_at(places[source]), num_workers)
    for loader, images in zip(module.test_dataloader(), expected.values(), strict=True):
        batches = list(loader)
        assert torch.cat([batch["index"] for batch in batches]).tolist() == list(range(len(images.keys)))
        assert torch.cat([batch["label"] for batch in batches]).tolist() == images.labels
        pixels = torch.cat([batch["image"] for batch in batches])
        assert all(torch.equal(pixels[row], pixels_of(original(images, row), SPEC)) for row in range(len(pixels)))


# --- the contract with a trainer -----------------------------------------------------------------------------------


def test_a_function_is_asked_once_to_prepare_and_once_to_set_up(places):
    asked = []

    def loading(name):
        return lambda: asked.append(name) or split_at(places["files"])

    module = module_of(loading("test"), val=loading("val"))
    assert asked == []
    module.prepare_data()
    assert asked == ["test", "val"]
    module.setup("fit")
    module.setup("test")
    assert asked == ["test", "val", "test", "val"]
    for loaders in (module.train_dataloader(), module.val_dataloader(), module.test_dataloader()):
        assert loaders
    assert len(asked) == 4


def test_a_split_that_was_given_is_not_loaded_again(data):
    data.prepare_data()
    before = data.split
    data.setup("fit")
    assert data.split is before


def named(*names):
    return {name: image_set(2 + place, name)._replace(labels=[-1] * (2 + place)) for place, name in enumerate(names)}


def test_test_loaders_keep_the_order_in_which_ood_sets_are_named():
    ood = named("zebra", "ant", "middle")
    split = Split("some", CLASS_NAMES[:4], 4, TRAIN, TEST, ood, "", {"drawn": image_set(6, "drawn")})
    lengths = [sum(len(batch["index"]) for batch in loader) for loader in module_of(split).test_dataloader()]
    assert lengths == [len(TEST.keys), 2, 3, 4, 6]
    assert list(split.test_sets()) == ["id", "ood/zebra", "ood/ant", "ood/middle", "shifted/drawn"]


def test_validation_loaders_are_those_of_the_benchmark_for_it_and_none_without(data):
    val = Split("val", CLASS_NAMES[:4], 4, TRAIN, image_set(3, "val"), named("one", "two", "three"), "")
    test = data.split
    lengths = [sum(len(batch["index"]) for batch in loader) for loader in module_of(test, val=val).val_dataloader()]
    assert lengths == [3, 2, 3, 4]
    assert data.val_dataloader() == []


@pytest.mark.parametrize("source", SOURCES)
def test_training_keeps_its_processes_from_epoch_to_epoch_and_tests_do_not(places, source):
    module = module_of(split_at(places[source]), num_workers=2)
    before = set(multiprocessing.active_children())
    loader, processes = module.train_dataloader(), []
    for _ in range(2):
        for _ in loader:
            pass
        processes.append(set(multiprocessing.active_children()) - before)
    assert processes[0] == processes[1]
    assert len(processes[0]) == 2
    for test in module.test_dataloader():
        for _ in test:
            pass
        assert set(multiprocessing.active_children()) - before == processes[0]
    del loader


def test_nothing_is_pinned_for_a_cpu(places):
    module = module_of(split_at(places["files"]))
    on_cpu(module)
    for loader in (module.train_dataloader(), *module.test_dataloader()):
        assert not loader.pin_memory
        assert not next(iter(loader))["image"].is_pinned()
