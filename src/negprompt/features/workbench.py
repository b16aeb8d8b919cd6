"""Backbone, benchmark and image features of a run, each loaded or computed once in a process."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import lightning
from torch import Tensor

from negprompt.backbones.base import BackboneSettings, FrozenBackbone
from negprompt.data.base import Augmentation
from negprompt.data.datamodule import OODDataModule
from negprompt.features.datamodule import FeatureDataModule, FeatureDataset
from negprompt.features.entry import Stored
from negprompt.features.extract import computed, shape_of_features
from negprompt.features.key import View
from negprompt.features.settings import FeatureSettings
from negprompt.features.store import FeatureStore, Filled
from negprompt.ranks import rank, world_size
from negprompt.training.sampler import EpochBatchSampler
from negprompt.training.trainer import TrainerSettings
from negprompt.types import ImageSet, Split


class Extracted(NamedTuple):
    """A set in the store: its pictures and views, bytes on disk, how many views were computed now and how fast.

    `rate`: pictures a second of the pass it was computed in, views counted; None where all was there.
    """

    name: str
    pictures: int
    views: int
    num_bytes: int
    computed: int
    rate: float | None


@functools.cache
def load_backbone(settings: BackboneSettings) -> tuple[FrozenBackbone, str]:
    """The frozen backbone and the hash of its weights, loaded once in a process."""
    backbone = settings.build()
    return backbone, backbone.weights_sha256()


class Workbench:
    """What all stages of a run work on.

    Args:
        backbone: settings of the frozen CLIP.
        split: the loaded benchmark of this seed.
        augmentation: of training pictures.
        features: computed once, or at every step.
        features_dir: folder of the feature store.
        trainer: where to run, loader processes, batch size of tests.
        seed: of order and augmentation.
        local_tests: whether scores look at regions of test pictures; `features.local` holds for all pictures.
    """

    def __init__(
        self,
        backbone: BackboneSettings,
        split: Split,
        augmentation: Augmentation,
        features: FeatureSettings,
        features_dir: Path,
        trainer: TrainerSettings,
        seed: int,
        *,
        local_tests: bool = False,
    ) -> None:
        self.backbone, self.weights_sha256 = load_backbone(backbone)
        self.split = split
        self._augmentation = augmentation
        self._features = features
        self._trainer = trainer
        self._seed = seed
        local_tests = local_tests or features.local
        if local_tests:
            shape_of_features(self.backbone, local=True)  # refused now, not after the training
        store = FeatureStore(features_dir, self.backbone, self.weights_sha256, trainer, local_tests)
        self._store, self._training_store = store, dataclasses.replace(store, local=features.local)

    @property
    def train_class_names(self) -> tuple[str, ...]:
        """Names of the classes that training sees."""
        return self.split.class_names[: self.split.num_train_classes]

    def train_datamodule(self, batch_size: int) -> lightning.LightningDataModule:
        """Training batches of the few-shot pictures: of pixels, or of stored features, computed where they are missing.

        Raises:
            NegPromptError: the store is damaged or cannot be written.
        """
        if self._features.mode == "none":
            return self._pictures(batch_size)
        labels = self.split.train.labels
        return FeatureDataModule(
            _dataset(self._training_store.get(self._train_views()).stored, labels), {}, self._batches(batch_size)
        )

    def training_features(self) -> Tensor:
        """Features (N, D) of the training pictures under the test transform, not normalised.

        Raises:
            NegPromptError: the store is damaged or cannot be written.
        """
        return self.features_of(self.split.train)

    def features_of(self, images: ImageSet) -> Tensor:
        """Features (N, D) of pictures under the test transform, not normalised.

        Raises:
            NegPromptError: the store is damaged or cannot be written, or a picture is corrupt.
        """
        view = View(images)
        if self._features.mode == "none":
            return computed(view, self.backbone, self._trainer)
        return self._training_store.get([view]).stored[0].features[:]

    def test_datamodule(self, *, pixels: bool = False) -> lightning.LightningDataModule:
        """Test batches: the ID set, then each OOD set, then each shifted ID set.

        Args:
            pixels: whether a score needs the pictures themselves.

        Raises:
            NegPromptError: the store is damaged or cannot be written.
        """
        if pixels or self._features.mode == "none":
            return self._pictures(batch_size=1)
        sets = self.split.test_sets()
        filled = self._store.get([View(images) for images in sets.values()])
        tests = {
            name: _dataset([stored], images.labels)
            for (name, images), stored in zip(sets.items(), filled.stored, strict=True)
        }
        return FeatureDataModule(FeatureDataset([], []), tests, self._batches(1))

    def extract(self, held_out: ImageSet | None = None) -> list[Extracted]:
        """Fill the store with everything that runs on this benchmark read; one row for each set.

        Args:
            held_out: pictures for thresholds (`IDSets.held_out`), where there are some.

        Raises:
            NegPromptError: the store is damaged or cannot be written.
        """
        views, sets = self._train_views(), self.split.test_sets()
        train = self._training_store.get(views)
        tests = self._store.get([View(images) for images in sets.values()])
        rows = [_extracted("train", self.split.train, train, slice(None))]
        if held_out is not None:
            filled = self._training_store.get([View(held_out)])
            rows.append(_extracted("held out", held_out, filled, slice(None)))
        return rows + [
            _extracted(name, images, tests, slice(place, place + 1))
            for place, (name, images) in enumerate(sets.items())
        ]

    def _train_views(self) -> list[View]:
        train = self.split.train
        if not self._features.augment:
            return [View(train)]
        return [View(train, self._augmentation, self._seed, number) for number in range(self._features.views)]

    def _pictures(self, batch_size: int) -> OODDataModule:
        settings = self._trainer
        return OODDataModule(
            self.split,
            self.backbone.image_spec,
            self._augmentation if self._features.augment else None,
            self._seed,
            settings.eval_batch_size,
            settings.num_workers,
            functools.partial(self._batches(batch_size), rank=rank(), world_size=world_size()),
        )

    def _batches(self, batch_size: int) -> functools.partial[EpochBatchSampler]:
        """On stored features processes share the classes of one batch, on pictures the batch as well."""
        return functools.partial(EpochBatchSampler, batch_size=batch_size, seed=self._seed)


def _extracted(name: str, images: ImageSet, filled: Filled, views: slice) -> Extracted:
    stored, computed = filled.stored[views], filled.computed[views]
    rate = filled.pictures / filled.seconds if any(computed) else None
    return Extracted(name, len(images.keys), len(stored), sum(one.num_bytes for one in stored), sum(computed), rate)


def _dataset(views: Sequence[Stored], labels: Sequence[int]) -> FeatureDataset:
    local = [view.local for view in views if view.local is not None]
    return FeatureDataset([view.features for view in views], labels, local or None)
