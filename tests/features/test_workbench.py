"""Image features computed once: what training and tests see is what the pictures would have given."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from helpers import QUIET, SHOTS, TinySettings, coop, request, scores, two_stage

from negprompt import api
from negprompt.data.base import Augmentation, load_split
from negprompt.data.decoding import decode
from negprompt.data.transforms import test_image as pixels_of
from negprompt.errors import ConfigError
from negprompt.features import store
from negprompt.features.datamodule import FeatureDataset
from negprompt.features.settings import FeatureSettings
from negprompt.features.workbench import Workbench
from negprompt.prompts import bundle as bundles
from negprompt.types import SampleIndex

PIXELS, STORED = FeatureSettings(mode="none", views=1), FeatureSettings(views=3)


pytestmark = pytest.mark.usefixtures("no_figures")


@pytest.fixture
def bench(icons, tmp_path):
    """A workbench on the small benchmark; all of a test share one store."""

    def make(features, seed=1, augmentation=None, backbone=None, local_tests=False, **data):
        wanted = request(icons, tmp_path, seed=seed, **data)
        split = load_split(wanted.data, wanted.ood, seed)
        augmentation = augmentation or wanted.data.augmentation
        about = (backbone or TinySettings(), split, augmentation, features, tmp_path / "store", QUIET, seed)
        return Workbench(*about, local_tests=local_tests)

    return make


def batches_of_epoch(datamodule, epoch):
    """Training batches as a fit sees them when `epoch` epochs are behind it."""
    loader = datamodule.train_dataloader()
    loader.batch_sampler._batches_done = lambda: epoch * len(loader)
    return list(loader)


def gap(one, other):
    return float((one - other).abs().max())


@pytest.mark.parametrize("epoch", [0, 1, 2])
def test_stored_training_batches_are_the_features_of_the_picture_batches(bench, epoch):
    pixels, stored = bench(PIXELS), bench(STORED)
    pairs = zip(
        batches_of_epoch(pixels.train_datamodule(16), epoch),
        batches_of_epoch(stored.train_datamodule(16), epoch),
        strict=True,
    )
    for of_pixels, of_store in pairs:
        assert torch.equal(of_pixels["index"], of_store["index"])
        assert torch.equal(of_pixels["label"], of_store["label"])
        assert gap(pixels.backbone.encode_image(of_pixels["image"]), of_store["image_features"]) < 1e-6


def test_stored_test_batches_are_the_features_of_the_test_pictures_in_the_same_sets(bench):
    pixels, stored = bench(PIXELS), bench(STORED)
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
        prompts(icons, tmp_path / features.mode, features, coop()) for features in (PIXELS, FeatureSettings(views=1))
    )
    assert gap(pixels.positive, stored.positive) > 1e-5


def test_an_epoch_reads_the_view_of_its_number_and_starts_over_after_the_last():
    views = torch.arange(3.0).reshape(3, 1, 1).expand(3, 5, 2)
    dataset = FeatureDataset(views, [0] * 5)
    batch = dataset.__getitems__([SampleIndex(row=1, epoch=epoch) for epoch in range(7)])
    assert batch["image_features"][:, 0].tolist() == [0, 1, 2, 0, 1, 2, 0]


@pytest.mark.parametrize("augment", [True, False])
def test_the_store_sees_the_very_pixels_of_the_picture_loaders(bench, monkeypatch, augment):
    seen = []

    def keep(self, images):
        seen.append(images)
        return torch.zeros(len(images), 4)

    monkeypatch.setattr("negprompt.backbones.openclip.OpenClipBackbone.encode_image", keep)
    monkeypatch.setattr("negprompt.features.extract.shape_of_features", lambda *_, **__: (4, None))
    views = 2 if augment else 1
    pixels = bench(FeatureSettings(mode="none", views=1, augment=augment))
    stored = bench(FeatureSettings(views=views, augment=augment))
    stored.train_datamodule(16)
    order = sorted(stored._store.root.glob("*/icons_train-*"))
    numbers = [json.loads((folder / "meta.json").read_text())["key"]["transform"].get("view", 0) for folder in order]
    of_store = dict(zip(numbers, torch.cat(seen).chunk(views), strict=True))
    for epoch in range(2):
        for batch in batches_of_epoch(pixels.train_datamodule(16), epoch):
            assert torch.equal(batch["image"], of_store[epoch % views][batch["index"]])


def test_without_augmentation_training_sees_the_test_transform(bench):
    plain = FeatureSettings(views=1, augment=False)
    of_store, of_pixels = bench(plain), bench(FeatureSettings(mode="none", views=1, augment=False))
    (stored, *_), (pixels, *_) = (batches_of_epoch(one.train_datamodule(16), 5) for one in (of_store, of_pixels))
    train = of_store.split.train
    for place, row in enumerate(pixels["index"].tolist()):
        expected = pixels_of(decode(train.encoded[row], train.keys[row], train.name), of_store.backbone.image_spec)
        assert torch.equal(pixels["image"][place], expected)
    assert gap(of_store.backbone.encode_image(pixels["image"]), stored["image_features"]) < 1e-6


def test_views_without_augmentation_would_be_equal():
    with pytest.raises(ConfigError, match=r"features\.augment=false with features\.views=8.*features\.views=1"):
        FeatureSettings(augment=False)


@pytest.fixture
def computed(monkeypatch):
    """How many entries each pass computed."""
    passes = []
    extract = store.extract

    def counted(jobs, *rest):
        passes.append(sum(not job.entry.is_there for job in jobs))
        extract(jobs, *rest)

    monkeypatch.setattr(store, "extract", counted)
    return passes


def test_runs_share_what_they_have_in_common(bench, computed):
    for _ in range(2):
        bench(STORED).train_datamodule(16)
        bench(STORED).test_datamodule()
    bench(STORED).train_datamodule(8)
    assert computed == [3, 5]


def test_test_features_are_shared_by_all_seeds(bench, computed):
    for seed in (0, 1, 2):
        bench(STORED, seed=seed).test_datamodule()
    assert computed == [5]


def test_ood_sets_are_shared_by_benchmarks(bench, computed):
    bench(STORED).test_datamodule()
    bench(STORED, class_names=["bell", "drum"]).test_datamodule()
    assert computed == [5, 1]


@pytest.mark.parametrize(
    ("change", "new"),
    [
        ({"seed": 2}, 3),
        ({"augmentation": Augmentation(flip=0.0)}, 3),
        ({"features": FeatureSettings(views=2)}, 0),
        ({"features": FeatureSettings(views=5)}, 2),
        ({"features": FeatureSettings(views=1, augment=False)}, 1),
        ({"backbone": TinySettings(init_seed=1)}, 3),
        ({"num_shots": 2}, 3),
    ],
)
def test_only_what_is_missing_is_computed(bench, computed, change, new):
    bench(STORED).train_datamodule(16)
    bench(**{"features": STORED, **change}).train_datamodule(16)
    assert computed == ([3, new] if new else [3])


def test_another_seed_augments_the_same_pictures_differently(bench, computed):
    every_picture = {"num_shots": SHOTS}
    one, two = (bench(STORED, seed=seed, **every_picture) for seed in (1, 2))
    assert one.split.train == two.split.train
    for each in (one, two):
        each.train_datamodule(16)
    assert computed == [3, 3]


def test_features_can_be_trained_on(bench):
    (batch, *_) = bench(STORED).train_datamodule(16).train_dataloader()
    assert not batch["image_features"].is_inference()
    assert not batch["image_features"].requires_grad


def test_training_sees_the_names_of_its_classes_only(bench):
    assert bench(STORED, class_fraction=0.1).train_class_names == ("anchor", "bell")


def test_evaluation_over_stored_features_decodes_no_picture(icons, tmp_path, monkeypatch):
    wanted = request(icons, tmp_path, method=coop())
    finished = api.train(wanted)

    def decoded(*_):
        raise AssertionError("a picture was decoded")

    monkeypatch.setattr("negprompt.data.datamodule.decode", decoded)
    for names in (("mcm", "energy"), ("msp",)):
        metrics = api.evaluate(replace(wanted, scores=scores(*names)), finished.folder, tmp_path / "output")
        assert list(metrics["scores"]) == list(names)


# --- local features ------------------------------------------------------------------------------------------------


def test_batches_have_local_features_where_they_are_asked_for(bench, monkeypatch):
    def both(self, images):
        features = self.encode_image(images)
        return features, torch.stack([features, 2 * features, 3 * features], dim=1)

    monkeypatch.setattr("negprompt.backbones.openclip.OpenClipBackbone.encode_image_with_local", both, raising=False)
    local = bench(FeatureSettings(views=2, local=True))
    for loader in (local.train_datamodule(16).train_dataloader(), *local.test_datamodule().test_dataloader()):
        for batch in loader:
            regions = batch["local_features"]
            assert regions.shape == (len(batch["index"]), 3, 16)
            assert regions.dtype == torch.float32
            assert torch.equal(regions[:, 2], (3 * batch["image_features"]).half().float())
    tests = bench(FeatureSettings(views=2), local_tests=True)
    for loader in tests.test_datamodule().test_dataloader():
        assert all("local_features" in batch for batch in loader)
    (batch, *_) = bench(FeatureSettings(views=2)).train_datamodule(16).train_dataloader()
    assert "local_features" not in batch


def test_training_pictures_keep_no_regions_where_scores_alone_look_at_them(bench, tmp_path, monkeypatch):
    def both(self, images):
        features = self.encode_image(images)
        return features, features[:, None]

    monkeypatch.setattr("negprompt.backbones.openclip.OpenClipBackbone.encode_image_with_local", both, raising=False)
    scored = bench(FeatureSettings(views=2), local_tests=True)
    (batch, *_) = scored.train_datamodule(16).train_dataloader()
    scored.training_features()
    assert "local_features" not in batch
    assert not list((tmp_path / "store").rglob("local.npy"))
    scored.test_datamodule()
    assert list((tmp_path / "store").rglob("local.npy"))


def test_what_cannot_change_a_result_is_not_in_the_hash():
    payload = FeatureSettings().hash_payload()
    assert payload == {"mode": "memory", "views": 8}  # as in the first version
    assert FeatureSettings(local=True).hash_payload() == payload
    assert FeatureSettings(views=1, augment=False).hash_payload() == {"mode": "memory", "views": 1, "augment": False}
    assert FeatureSettings(mode="none").hash_payload()["mode"] == "none"
