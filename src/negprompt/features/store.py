"""The feature store: image features of a frozen backbone on disk, computed once and shared by all runs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from negprompt.backbones.base import FrozenBackbone
from negprompt.features.entry import Entry, Stored
from negprompt.features.extract import Job, extract
from negprompt.features.key import View, make_key, pictures_sha256, with_local
from negprompt.training.trainer import TrainerSettings


class Filled(NamedTuple):
    """What a request found or made: the features of each view, which of them were missing, seconds it took."""

    stored: tuple[Stored, ...]
    computed: tuple[bool, ...]
    seconds: float

    @property
    def pictures(self) -> int:
        """Pictures that were computed, views counted."""
        return sum(len(one.features) for one, new in zip(self.stored, self.computed, strict=True) if new)


@dataclass(frozen=True)
class FeatureStore:
    """Features of one backbone.

    `root`: folder of the store; `trainer`: where to compute; `local`: whether features of regions are wanted.
    """

    root: Path
    backbone: FrozenBackbone
    weights_sha256: str
    trainer: TrainerSettings
    local: bool = False

    def get(self, views: Sequence[View]) -> Filled:
        """Features of some views; what is missing is computed in one pass.

        Raises:
            DataError: an entry or a picture is damaged.
            RunError: the store cannot be written.
            BackboneError: the backbone has no local features.
        """
        sets = {id(view.images): view.images for view in views}  # a set with many views is hashed once
        hashes = {place: pictures_sha256(images) for place, images in sets.items()}
        jobs = [Job(self._entry(view, hashes[id(view.images)]), view) for view in views]
        computed = tuple(not job.entry.is_there for job in jobs)
        start = time.perf_counter()
        if any(computed) or self.trainer.devices != 1:  # processes that work together must all come to the same place
            extract(jobs, self.backbone, self.local, self.trainer)
        seconds = time.perf_counter() - start
        return Filled(tuple(job.entry.open(self.local) for job in jobs), computed, seconds)

    def _entry(self, view: View, pictures: str) -> Entry:
        """Where a view is, or will be. Global features are also taken from an entry with local ones: they are equal."""
        folder = self.root / self.backbone.name
        key = make_key(view, pictures, self.backbone, self.weights_sha256, self.trainer.precision)
        plain, both = Entry.place(folder, key), Entry.place(folder, with_local(key))
        return both if self.local or (both.is_there and not plain.is_there) else plain
