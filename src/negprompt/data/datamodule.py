"""The LightningDataModule of every benchmark: ID training pictures, ID test pictures, named OOD sets."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol

import lightning
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from negprompt import stopping
from negprompt.data.base import Augmentation
from negprompt.data.contents import Contents
from negprompt.data.decoding import decode
from negprompt.data.loader import Loader
from negprompt.data.transforms import batch_of, test_pixels, train_pixels
from negprompt.ranks import rank, world_size
from negprompt.types import Batch, ImageSet, ImageSpec, SampleIndex, Split


class BatchSamplerFactory(Protocol):
    """Makes the training loader's batch sampler."""

    def __call__(self, num_samples: int, *, batches_done: Callable[[], int]) -> Sampler[list[SampleIndex]]:
        """Batches of `num_samples` pictures, going on after those already done."""


class ImageDataset(Dataset[Batch]):
    """Pictures of one set, decoded when asked for; augmented where `augmentation` is given."""

    def __init__(
        self, images: ImageSet, spec: ImageSpec, augmentation: Augmentation | None = None, seed: int = 0
    ) -> None:
        self._images = images
        self._spec = spec
        self._augmentation = augmentation
        self._seed = seed

    def __len__(self) -> int:
        """Number of pictures."""
        return len(self._images.keys)

    def __getitems__(self, where: Sequence[SampleIndex]) -> Batch:
        """Pictures `row`, augmented for epoch `epoch`."""
        rows = [sample.row for sample in where]
        return {
            "image": self.transformed(self.decoded(rows), where),
            "label": torch.tensor([self._images.labels[row] for row in rows]),
            "index": torch.tensor(rows),
        }

    def decoded(self, rows: Sequence[int]) -> Iterator[Image.Image]:
        """Pictures before any transform, one by one: together they would be too large for the processor's cache."""
        images = self._images
        for row in rows:
            yield decode(images.encoded[row], images.keys[row], _where(images, row))

    def transformed(self, pictures: Iterable[Image.Image], where: Sequence[SampleIndex]) -> Tensor:
        """Decoded pictures of `where` -> (B, 3, H, W)."""
        pixels = (self._pixels(*pair) for pair in zip(pictures, where, strict=True))
        return batch_of(pixels, len(where), self._spec)

    def _pixels(self, image: Image.Image, where: SampleIndex) -> Tensor:
        if self._augmentation is None:
            return test_pixels(image, self._spec)
        return train_pixels(image, self._spec, self._augmentation, self._seed, where)


def _where(images: ImageSet, row: int) -> str:
    """Set and place of a picture, for the message on a corrupt one."""
    encoded = images.encoded
    return f"{images.name} ({encoded.place(row)})" if isinstance(encoded, Contents) else images.name


class SequentialBatches(Sampler[list[SampleIndex]]):
    """All pictures in order, once.

    Of several processes each takes its share of the batches; one for which there is none takes the first too.
    """

    def __init__(self, num_samples: int, batch_size: int) -> None:
        self._num_samples = num_samples
        self._batch_size = batch_size

    def __len__(self) -> int:
        """Number of batches of this process, the last one may be smaller."""
        return len(self._starts())

    def __iter__(self) -> Iterator[list[SampleIndex]]:
        """Batches of consecutive pictures."""
        for start in self._starts():
            yield [SampleIndex(row, 0) for row in range(start, min(start + self._batch_size, self._num_samples))]

    def _starts(self) -> range:
        starts = range(0, self._num_samples, self._batch_size)
        return starts[rank() :: world_size()] or starts[:1]


class OODDataModule(lightning.LightningDataModule):
    """Loaders over pictures: shuffled and augmented for training, in order for tests (that of `Split.test_sets`).

    Args:
        split: the loaded benchmark, or a function that loads it.
        spec: size, normalisation and interpolation the backbone wants.
        augmentation: of training pictures, None for the test transform.
        seed: of augmentation and order.
        eval_batch_size: pictures a test batch.
        num_workers: loader processes.
        train_batches: makes the batch sampler of the training loader.
        val: a benchmark that settings may be chosen on (icons_val, openood with part=val), or a function that loads it.
    """

    def __init__(
        self,
        split: Split | Callable[[], Split],
        spec: ImageSpec,
        augmentation: Augmentation | None,
        seed: int,
        eval_batch_size: int,
        num_workers: int,
        train_batches: BatchSamplerFactory,
        val: Split | Callable[[], Split] | None = None,
    ) -> None:
        super().__init__()
        self._given, self._given_val = split, val
        self._spec = spec
        self._augmentation = augmentation
        self._seed = seed
        self._eval_batch_size = eval_batch_size
        self._num_workers = num_workers
        self._train_batches = train_batches

    def prepare_data(self) -> None:
        """One process of a machine loads first: listings, hashes and fetched shards are there for the others."""
        if callable(self._given):
            self._given()
        if callable(self._given_val):
            self._given_val()

    def setup(self, stage: str) -> None:
        """Load what was not given loaded."""
        del stage
        self._given, self._given_val = self.split, self.val

    @property
    def split(self) -> Split:
        """The benchmark."""
        return self._given() if callable(self._given) else self._given

    @property
    def val(self) -> Split | None:
        """The benchmark that settings may be chosen on, where there is one."""
        return self._given_val() if callable(self._given_val) else self._given_val

    def train_dataloader(self) -> DataLoader[Batch]:
        """Few-shot pictures, shuffled and augmented as a function of (seed, epoch, index)."""
        dataset = ImageDataset(self.split.train, self._spec, self._augmentation, self._seed)
        sampler = self._train_batches(len(dataset), batches_done=lambda: batches_done(self))
        return batch_loader(dataset, sampler, self._num_workers, keep_workers=True, pin_memory=self._on_gpu)

    def val_dataloader(self) -> list[DataLoader[Batch]]:
        """ID pictures for choosing settings, then each OOD set for it; none where there is no such benchmark."""
        return [] if (val := self.val) is None else self._in_order(val)

    def test_dataloader(self) -> list[DataLoader[Batch]]:
        """ID test pictures, then each OOD set, then each shifted ID set, in the order of `split.test_sets()`."""
        return self._in_order(self.split)

    def _in_order(self, split: Split) -> list[DataLoader[Batch]]:
        sets = [ImageDataset(images, self._spec) for images in split.test_sets().values()]
        batches = [SequentialBatches(len(dataset), self._eval_batch_size) for dataset in sets]
        return [
            batch_loader(dataset, sampler, self._num_workers, pin_memory=self._on_gpu)
            for dataset, sampler in zip(sets, batches, strict=True)
        ]

    @property
    def _on_gpu(self) -> bool:
        return self.trainer is not None and self.trainer.strategy.root_device.type == "cuda"


def batch_loader(
    dataset: Dataset[Any],
    batches: Sampler[list[SampleIndex]],
    num_workers: int,
    *,
    keep_workers: bool = False,
    pin_memory: bool = False,
) -> DataLoader[Any]:
    """A loader of whole batches; `keep_workers` from pass to pass, for a loader that is gone through many times."""
    return Loader(
        dataset,
        batch_sampler=batches,
        collate_fn=_as_is,
        num_workers=num_workers,
        persistent_workers=keep_workers and num_workers > 0,
        pin_memory=pin_memory,
        worker_init_fn=stopping.leave_to_parent,
    )


def _as_is(batch: Any) -> Any:  # noqa: ANN401 -- DataLoader types it as a list of samples
    return batch


def batches_done(datamodule: lightning.LightningDataModule) -> int:
    """Training batches since the beginning of the run, also right after resuming in the middle of an epoch."""
    trainer = datamodule.trainer
    if trainer is None:
        return 0
    return int(trainer.fit_loop.epoch_loop.batch_progress.total.ready)
