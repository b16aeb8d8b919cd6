"""Image features computed once: what training and tests see is what the pictures would have given."""

from __future__ import annotations

import pytest
import torch
from helpers import QUIET, SHOTS, TinySettings, coop, request, two_stage

from negprompt import api
from negprompt.data.base import Augmentation, load_split
from negprompt.features import workbench
from negprompt.features.datamodule import FeatureDataset
from negprompt.features.settings import FeatureSettings
from negprompt.features.workbench import Workbench
from negprompt.prompts import bundle as bundles
from negprompt.types import SampleIndex

PIXELS, STORED = FeatureSettings(mode="none", views=1), FeatureSettings(mode="memory", views=3)


@pytest.fixture(autouse=True)
def _fresh(monkeypatch, no_figures):
    monkeypatch.setattr(workbench, "_FEATURES", {})


def bench(icons, features, seed=1, augmentation=None, backbone=None, **data):
    wanted = request(icons, icons, seed=seed, **data)
    split = load_split(wanted.data, wanted.ood, seed)
    return Workbench(backbone or TinySettings(), split, augmentation or wanted.data.augmentation, features, QUIET, seed)


def batches_of_epoch(datamodule, epoch):
    """Training batches as a fit sees them when `epoch` epochs are behind it."""
    loader = datamodule.train_dataloader()
    loader.batch_sampler._batches_done = lambda: epoch * len(loader)
    return list(loader)


def gap(one, other):
    return float((one - other).abs().max())


@pytest.mark.parametrize("epoch", [0, 1, 2])
def test_stored_training_batches_are_the_features_of_the_picture_batches(icons, epoch):
    pixels, stored = bench(icons, PIXELS), bench(icons, STORED)
    pairs = zip(
        batches_of_epoch(pixels.train_datamodule(16), epoch),
        batches_of_epoch(stored.train_datamodule(16), epoch),
        strict=True,
    )
    for of_pixels, of_store in pairs:
        assert torch.equal(of_pixels["index"], of_store["index"])
        assert torch.equal(of_pixels["label"], of_store["label"])
        assert gap(pixels.backbone.encode_image(of_pixels["image"]), of_store["image_features"]) < 1e-6


def test_stored_test_batches_are_the_features_of_the_test_pictures_in_the_same_sets(icons):
    pixels, stored = bench(icons, PIXELS), bench(icons, STORED)
    for of_pixels, of_store in zip(
        pixels.test_datamodule().test_dataloader(), stored.test_datamodule().test_dataloader(), strict=True
    ):
        features = torch.cat([pixels.backbone.encode_image(batch["image"]) for batch in of_pixels])
        (batch,) = of_store
        assert gap(features, batch["image_features"]) < 1e-6
        assert torch.cat([batch["label"] for batch in of_pixels]).tolist() == batch["label"].tolist()


def prompts(icons, runs_dir, features, method):
    return bundles.load(api.train(request(icons, runs_dir, features=features, method=method)).folder)


@pytest.mark.parametrize("method", [coop(), two_stage()], ids=["CoOp", "NegPrompt"])
def test_with_a_view_for_every_epoch_both_modes_learn_the_same_prompts(icons, tmp_path, method):
    pixels, stored = (prompts(icons, tmp_path / features.mode, features, method) for features in (PIXELS, STORED))
    assert gap(pixels.positive, stored.positive) < 1e-6
    if pixels.negative is not None:
        assert gap(pixels.negative, stored.negative) < 1e-6


def test_fewer_views_than_epochs_train_on_other_pictures(icons, tmp_path):
    pixels, stored = (
        prompts(icons, tmp_path / features.mode, features, coop())
        for features in (PIXELS, FeatureSettings(mode="memory", views=1))
    )
    assert gap(pixels.positive, stored.positive) > 1e-5


def test_an_epoch_reads_the_view_of_its_number_and_starts_over_after_the_last():
    views = torch.arange(3.0).reshape(3, 1, 1).expand(3, 5, 2)
    dataset = FeatureDataset(views, [0] * 5)
    batch = dataset.__getitems__([SampleIndex(row=1, epoch=epoch) for epoch in range(7)])
    assert batch["image_features"][:, 0].tolist() == [0, 1, 2, 0, 1, 2, 0]


@pytest.fixture
def computed(monkeypatch):
    """How often features were computed."""
    calls = []
    extract = workbench.extract

    def counted(backbone, trainer, loader):
        calls.append(len(loader))
        return extract(backbone, trainer, loader)

    monkeypatch.setattr(workbench, "extract", counted)
    return calls


def test_runs_of_one_process_share_what_they_have_in_common(icons, computed):
    for _ in range(2):
        bench(icons, STORED).train_datamodule(16)
        bench(icons, STORED).test_datamodule()
    bench(icons, STORED).train_datamodule(8)
    assert len(computed) == 2


def test_test_features_are_shared_by_all_seeds(icons, computed):
    for seed in (0, 1, 2):
        bench(icons, STORED, seed=seed).test_datamodule()
    assert len(computed) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 2},
        {"augmentation": Augmentation(flip=0.0)},
        {"features": FeatureSettings(views=2)},
        {"backbone": TinySettings(init_seed=1)},
        {"num_shots": 2},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_changes_the_features_is_never_answered_from_memory(icons, computed, change):
    bench(icons, STORED).train_datamodule(16)
    bench(icons, **{"features": STORED, **change}).train_datamodule(16)
    assert len(computed) == 2


def test_another_seed_augments_the_same_pictures_differently(icons, computed):
    every_picture = {"num_shots": SHOTS}
    one, two = (bench(icons, STORED, seed=seed, **every_picture) for seed in (1, 2))
    assert one.split.train == two.split.train
    for each in (one, two):
        each.train_datamodule(16)
    assert len(computed) == 2


def test_features_can_be_trained_on(icons):
    (batch, *_) = bench(icons, STORED).train_datamodule(16).train_dataloader()
    assert not batch["image_features"].is_inference()
    assert not batch["image_features"].requires_grad


def test_training_sees_the_names_of_its_classes_only(icons):
    assert bench(icons, STORED, class_fraction=0.1).train_class_names == ("anchor", "bell")
