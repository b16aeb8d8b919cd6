"""Backbone, benchmark and image features of a run, each loaded or computed once in a process."""

from __future__ import annotations

import functools
import hashlib
import logging
from collections.abc import Sequence

import lightning
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from negprompt.backbones.base import BackboneSettings, FrozenBackbone
from negprompt.data.base import Augmentation
from negprompt.data.datamodule import OODDataModule
from negprompt.features.datamodule import FeatureDataModule
from negprompt.features.extract import extract
from negprompt.features.settings import FeatureSettings
from negprompt.ranks import rank, world_size
from negprompt.training.sampler import EpochBatchSampler
from negprompt.training.trainer import TrainerSettings, run_trainer
from negprompt.types import Batch, ImageSet, Split

log = logging.getLogger(__name__)

_FEATURES: dict[tuple[str, ...], Tensor] = {}
"""Features by everything that determines them: a sweep in one process shares what its runs have in common."""


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
        trainer: where to run, loader processes, batch size of tests.
        seed: of order and augmentation.
    """

    def __init__(
        self,
        backbone: BackboneSettings,
        split: Split,
        augmentation: Augmentation,
        features: FeatureSettings,
        trainer: TrainerSettings,
        seed: int,
    ) -> None:
        self.backbone, self.weights_sha256 = load_backbone(backbone)
        self.split = split
        self._augmentation = augmentation
        self._features = features
        self._trainer = trainer
        self._seed = seed

    @property
    def train_class_names(self) -> tuple[str, ...]:
        """Names of the classes that training sees."""
        return self.split.class_names[: self.split.num_train_classes]

    def train_datamodule(self, batch_size: int) -> lightning.LightningDataModule:
        """Training batches of the few-shot pictures: of pixels, or of features computed here and now."""
        pictures = self._pictures(batch_size)
        if self._features.mode == "none":
            return pictures
        train, views = self.split.train, self._features.views
        key = (*self._key(train), f"{views} views", str(self._seed), self._augmentation.model_dump_json())
        features = self._computed(
            key, f"{len(train.keys)} training pictures, {views} views", pictures.view_loader(views)
        )
        return FeatureDataModule(
            features.reshape(views, len(train.keys), -1), train.labels, {}, self._batches(batch_size)
        )

    def test_datamodule(self) -> lightning.LightningDataModule:
        """Test batches: the ID set, then each OOD set."""
        pictures = self._pictures(batch_size=1)
        if self._features.mode == "none":
            return pictures
        sets = {"id": self.split.test, **{f"ood/{name}": images for name, images in self.split.ood.items()}}
        everything = _joined(list(sets.values()))
        loader = pictures.eval_loader(everything)
        features = self._computed(self._key(everything), f"{len(everything.keys)} test pictures", loader)
        parts = torch.split(features, [len(images.keys) for images in sets.values()])
        tests = {name: (part, sets[name].labels) for name, part in zip(sets, parts, strict=True)}
        return FeatureDataModule(features[:0].unsqueeze(0), [], tests, self._batches(1))

    def _pictures(self, batch_size: int) -> OODDataModule:
        settings = self._trainer
        return OODDataModule(
            self.split,
            self.backbone.image_spec,
            self._augmentation,
            self._seed,
            settings.eval_batch_size,
            settings.num_workers,
            functools.partial(self._batches(batch_size), rank=rank(), world_size=world_size()),
        )

    def _batches(self, batch_size: int) -> functools.partial[EpochBatchSampler]:
        """On stored features processes share the classes of one batch, on pictures the batch as well."""
        return functools.partial(EpochBatchSampler, batch_size=batch_size, seed=self._seed)

    def _key(self, images: ImageSet) -> tuple[str, ...]:
        digest = hashlib.sha256()
        for encoded in images.encoded:
            digest.update(hashlib.sha256(encoded).digest())
        return self.weights_sha256, str(self.backbone.image_spec), self._trainer.precision, digest.hexdigest()

    def _computed(self, key: tuple[str, ...], what: str, loader: DataLoader[Batch]) -> Tensor:
        if key not in _FEATURES:
            log.info("image features of %s ...", what)
            _FEATURES[key] = extract(self.backbone, run_trainer(self._trainer), loader)
        return _FEATURES[key]


def _joined(sets: Sequence[ImageSet]) -> ImageSet:
    """Several sets as one, so that one pass with one progress bar goes over all of them."""
    return ImageSet(
        name="the test pictures",
        keys=[f"{images.name}/{key}" for images in sets for key in images.keys],
        encoded=[encoded for images in sets for encoded in images.encoded],
        labels=[label for images in sets for label in images.labels],
    )
