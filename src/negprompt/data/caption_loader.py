"""Batches of pictures with captions: decoded, augmented and tokenised as a function of (seed, epoch, row)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypedDict

import lightning
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from negprompt.data.base import Augmentation
from negprompt.data.captions import Captions
from negprompt.data.datamodule import batch_loader, batches_done
from negprompt.data.decoding import decode
from negprompt.data.transforms import batch_of, train_pixels
from negprompt.types import ImageSpec, SampleIndex


class CaptionBatch(TypedDict):
    """What the loader yields, all by pair.

    `image` (B, 3, H, W) float32, normalised; `tokens` (B, L) int64, 0 after the end token; `end` (B,) its place;
    `row` (B,) place among all pairs; `epoch` (B,) that it is drawn in.
    """

    image: Tensor
    tokens: Tensor
    end: Tensor
    row: Tensor
    epoch: Tensor


class BatchSamplerFactory(Protocol):
    """Makes the loader's batch sampler."""

    def __call__(
        self,
        num_samples: int,
        *,
        batches_done: Callable[[], int],
        order: Callable[[int], npt.NDArray[np.int64]],
    ) -> Sampler[list[SampleIndex]]:
        """Batches of `num_samples` pairs in an epoch's order, going on after those already done."""


class CaptionDataset(Dataset[CaptionBatch]):
    """Pairs, decoded and tokenised when asked for.

    Args:
        captions: all pairs.
        spec: what the image tower wants.
        augmentation: of pictures.
        seed: of augmentation.
        tokenize: text -> token ids with start and end token, not longer than the text tower takes.
    """

    def __init__(
        self,
        captions: Captions,
        spec: ImageSpec,
        augmentation: Augmentation,
        seed: int,
        tokenize: Callable[[str], list[int]],
    ) -> None:
        self._captions = captions
        self._spec = spec
        self._augmentation = augmentation
        self._seed = seed
        self._tokenize = tokenize

    def __len__(self) -> int:
        """Number of pairs."""
        return len(self._captions.pictures)

    def __getitems__(self, where: Sequence[SampleIndex]) -> CaptionBatch:
        """Pairs `row`, augmented for epoch `epoch`."""
        pictures = (self._pixels(sample) for sample in where)
        tokens = [self._tokenize(self._captions.text(sample.row)) for sample in where]
        return {
            "image": batch_of(pictures, len(where), self._spec),
            "tokens": _padded(tokens),
            "end": torch.tensor([len(ids) - 1 for ids in tokens]),
            "row": torch.tensor([sample.row for sample in where]),
            "epoch": torch.tensor([sample.epoch for sample in where]),
        }

    def _pixels(self, where: SampleIndex) -> Tensor:
        pictures = self._captions.pictures
        encoded = pictures.contents[where.row]
        image = decode(encoded, pictures.keys[where.row], f"captions ({pictures.contents.place(where.row)})")
        return train_pixels(image, self._spec, self._augmentation, self._seed, where)


def _padded(sequences: Sequence[Sequence[int]]) -> Tensor:
    table = torch.zeros(len(sequences), max(map(len, sequences)), dtype=torch.long)
    for row, tokens in enumerate(sequences):
        table[row, : len(tokens)] = torch.tensor(tokens)
    return table


class CaptionDataModule(lightning.LightningDataModule):
    """The training loader over pairs.

    Args:
        dataset: of the pairs.
        captions: the pairs.
        seed: of their order.
        batches: makes the batch sampler.
        num_workers: loader processes.
    """

    def __init__(
        self, dataset: CaptionDataset, captions: Captions, seed: int, batches: BatchSamplerFactory, num_workers: int
    ) -> None:
        super().__init__()
        self._dataset = dataset
        self._captions = captions
        self._seed = seed
        self._batches = batches
        self._num_workers = num_workers

    def train_dataloader(self) -> DataLoader[CaptionBatch]:
        """All pairs once an epoch, shuffled as a function of (seed, epoch)."""
        sampler = self._batches(
            len(self._dataset),
            batches_done=lambda: batches_done(self),
            order=lambda epoch: self._captions.order(self._seed, epoch),
        )
        on_gpu = self.trainer is not None and self.trainer.strategy.root_device.type == "cuda"
        return batch_loader(self._dataset, sampler, self._num_workers, keep_workers=True, pin_memory=on_gpu)
