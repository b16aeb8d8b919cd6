"""Image features through Lightning's predict loop, so that no file here knows a device or the number of processes."""

from __future__ import annotations

import errno
import logging
import shutil
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import lightning
import torch
from torch import Tensor

from negprompt import ranks
from negprompt.backbones.base import FrozenBackbone
from negprompt.errors import RunError
from negprompt.features.blocks import Block, BlockBatch, BlockLoader, together
from negprompt.features.entry import Entry
from negprompt.features.files import ArrayFile, total_bytes
from negprompt.features.key import View
from negprompt.features.lock import EntryLocks
from negprompt.features.partial import ELSEWHERE, Partial, layout
from negprompt.training.trainer import TrainerSettings, interruptible, run_trainer

log = logging.getLogger(__name__)

_GB = 1e9
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)

Encode = Callable[[Tensor], tuple[Tensor, Tensor | None]]


class Job(NamedTuple):
    """An entry of the store and the pictures that it is computed from."""

    entry: Entry
    view: View

    @property
    def pictures(self) -> int:
        """Number of pictures."""
        return len(self.view.images.keys)


class FeatureExtraction(lightning.LightningModule):
    """Predicts the features of one block after the other and hands them on.

    Args:
        backbone: frozen image tower.
        local: whether features of the regions are wanted too.
        store: takes view number, first row, features (B, D) float32 and local features (B, R, D) float16 or None.
    """

    def __init__(
        self, backbone: FrozenBackbone, local: bool, store: Callable[[int, int, Tensor, Tensor | None], None]
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self._encode = encoder(backbone, local)
        self._store = store

    def predict_step(self, batch: BlockBatch, batch_idx: int) -> Tensor:  # noqa: ARG002 -- Lightning's signature
        """Store the features of one block, not normalised; returned for Lightning, which warns of nothing else."""
        features, local = self._encode(batch["image"])
        regions = None if local is None else local.half().cpu()
        self._store(batch["view"], batch["start"], features.float().cpu(), regions)
        return features


class ExtractionData(lightning.LightningDataModule):
    """The blocks that are missing in the store, shared out among the processes; every process writes its own.

    Args:
        jobs: one for each entry, in the order of their folders, the same in every process.
        backbone: frozen image tower.
        local: whether features of the regions are wanted too.
        settings: block size and loader processes.
        locks: taken by rank 0; to be released by the caller, however this ends.
    """

    def __init__(
        self, jobs: Sequence[Job], backbone: FrozenBackbone, local: bool, settings: TrainerSettings, locks: EntryLocks
    ) -> None:
        super().__init__()
        self.allow_zero_length_dataloader_with_multiple_devices = True  # fewer blocks than processes
        self._jobs = jobs
        self._views = [job.view for job in jobs]
        self._backbone = backbone
        self._local = local
        self._settings = settings
        self._locks = locks
        self._blocks: list[Block] = []

    def setup(self, stage: str) -> None:
        """Rank 0 takes locks and room, then every rank finds its blocks."""
        del stage
        if ranks.rank() == 0:
            self._prepare()
        ranks.barrier()  # no rank looks before the folders are prepared
        self._blocks = together(self._missing(), self._views)[ranks.rank() :: ranks.world_size()]
        ranks.barrier()  # nor writes before all have looked

    def predict_dataloader(self) -> BlockLoader:
        """Blocks of this process."""
        return BlockLoader(self._views, self._backbone.image_spec, self._blocks, self._settings.num_workers)

    def store(self, view: int, start: int, features: Tensor, local: Tensor | None) -> None:
        """Write one block."""
        Partial(self._jobs[view].entry).write(start, features, local)

    def teardown(self, stage: str) -> None:
        """When all ranks are done, rank 0 gives the entries their names."""
        del stage
        ranks.barrier()
        if ranks.rank() == 0:
            for job in self._jobs:
                if not job.entry.is_there:
                    Partial(job.entry).finish()
            self._locks.release()
        ranks.barrier()

    def _missing(self) -> Iterator[Block]:
        for place, job in enumerate(self._jobs):
            if not job.entry.is_there:
                for start, end in Partial(job.entry).missing(job.pictures, self._settings.eval_batch_size):
                    yield Block(place, start, end)

    def _prepare(self) -> None:
        for job in self._jobs:
            if not job.entry.is_there:
                self._locks.take(job.entry.folder)
        todo = [job for job in self._jobs if not job.entry.is_there]  # others may have made some while we waited
        fresh = [job for job in todo if not self._goes_on(job)]
        if not fresh:
            return
        width, regions = shape_of_features(self._backbone, local=self._local)
        layouts = [layout(job.pictures, width, regions) for job in fresh]
        _reserve(fresh, layouts)

    def _goes_on(self, job: Job) -> bool:
        partial = Partial(job.entry)
        if not partial.is_described and partial.arrays() is None:
            return False
        done = job.pictures - sum(end - start for start, end in partial.missing(job.pictures, job.pictures))
        log.info("image features: going on with %s, %d of %d pictures are done", job.entry.folder, done, job.pictures)
        return True


def extract(jobs: Sequence[Job], backbone: FrozenBackbone, local: bool, settings: TrainerSettings) -> None:
    """Compute what is missing of some entries, in one pass with one progress bar.

    Args:
        jobs: entries with their pictures; those that are there are left alone.
        backbone: frozen image tower.
        local: whether features of the regions are wanted too.
        settings: where to run, block size, loader processes.

    Raises:
        RunError: the store cannot be written.
        BackboneError: local features of a backbone that has none.
        DataError: a picture is corrupt.
    """
    locks = EntryLocks()
    once = {job.entry.folder: job for job in jobs}
    ordered = [once[folder] for folder in sorted(once)]
    with locks.released_after(), interruptible():
        data = ExtractionData(ordered, backbone, local, settings, locks)
        module = FeatureExtraction(backbone, local, data.store)
        run_trainer(settings).predict(module, datamodule=data, return_predictions=False)


def computed(view: View, backbone: FrozenBackbone, settings: TrainerSettings) -> Tensor:
    """Features (N, D) of few pictures, not normalised, without a store; every process computes all of them."""
    size = settings.eval_batch_size
    blocks = [
        Block(0, start, min(start + size, len(view.images.keys))) for start in range(0, len(view.images.keys), size)
    ]
    parts: dict[int, Tensor] = {}
    module = FeatureExtraction(backbone, False, lambda _view, start, features, _local: parts.update({start: features}))
    with interruptible():
        loader = BlockLoader([view], backbone.image_spec, blocks, settings.num_workers)
        run_trainer(settings).predict(module, loader, return_predictions=False)
    return torch.cat([parts[start] for start in sorted(parts)])


def encoder(backbone: FrozenBackbone, local: bool) -> Encode:
    """The backbone's method as one that always returns global and local features."""
    return backbone.encode_image_with_local if local else lambda images: (backbone.encode_image(images), None)


@torch.inference_mode()
def shape_of_features(backbone: FrozenBackbone, *, local: bool) -> tuple[int, int | None]:
    """Width of the features, and number of regions where they are wanted, from one black picture.

    Raises:
        BackboneError: local features of a backbone that has none.
    """
    size = backbone.image_spec.size
    weight = next(backbone.parameters(), torch.zeros(0))
    features, regions = encoder(backbone, local)(torch.zeros(1, 3, size, size, device=weight.device))
    return features.shape[-1], None if regions is None else regions.shape[1]


def _reserve(jobs: Sequence[Job], layouts: Sequence[tuple[ArrayFile, ...]]) -> None:
    """Take the room of all entries before the first picture is decoded."""
    folder = jobs[0].entry.folder.parent
    needed = sum(total_bytes(arrays) for arrays in layouts)
    total, free = sum(job.pictures for job in jobs), shutil.disk_usage(folder).free
    log.info("image features: computing %d pictures (each view counts), %.2g GB in %s", total, needed / _GB, folder)
    no_room = (
        f"No room for image features: {needed / _GB:.3g} GB are needed in {folder} and {free / _GB:.3g} GB are free. "
        f"Make room, lower features.views, or set another {ELSEWHERE}."
    )
    if needed > free:
        raise RunError(no_room)
    reserved: list[Partial] = []
    for job, arrays in zip(jobs, layouts, strict=True):
        reserved.append(Partial(job.entry))
        try:
            reserved[-1].reserve(arrays)
        except RunError as error:
            if not (isinstance(error.__cause__, OSError) and error.__cause__.errno in _NO_ROOM):
                raise
            for partial in reserved:
                partial.remove()
            raise RunError(no_room) from error
