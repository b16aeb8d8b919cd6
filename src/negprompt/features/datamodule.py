"""The same batches as the picture data module, with ready image features in place of pixels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import lightning
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from negprompt.data.datamodule import BatchSamplerFactory, SequentialBatches, batches_done
from negprompt.types import Batch, SampleIndex

_EVAL_BATCH_SIZE = 1024


class FeatureDataset(Dataset[Batch]):
    """Stored features of the same pictures under V views; epoch e reads view e mod V.

    Args:
        views: V times (N, D), or one tensor (V, N, D).
        labels: (N,).
        local: V times (N, R, D), features of regions, where batches should have them.
    """

    def __init__(
        self, views: Sequence[Tensor] | Tensor, labels: Sequence[int], local: Sequence[Tensor] | None = None
    ) -> None:
        self._views = views
        self._labels = torch.tensor(labels, dtype=torch.long)
        self._local = local

    def __len__(self) -> int:
        """Number of pictures."""
        return len(self._labels)

    def __getitems__(self, where: Sequence[SampleIndex]) -> Batch:
        """A whole batch at once: gathering rows one by one would cost more than the training step."""
        index = torch.tensor([sample.row for sample in where])
        batch: Batch = {"image_features": _rows(self._views, where), "label": self._labels[index], "index": index}
        if self._local is not None:
            batch["local_features"] = _rows(self._local, where).float()
        return batch


class FeatureDataModule(lightning.LightningDataModule):
    """Loaders over stored features, in the order of `OODDataModule`.

    Args:
        train: features of the training pictures.
        tests: features of each test set, the ID set first.
        train_batches: makes the training loader's batch sampler.
    """

    def __init__(
        self, train: FeatureDataset, tests: Mapping[str, FeatureDataset], train_batches: BatchSamplerFactory
    ) -> None:
        super().__init__()
        self._train_set = train
        self._test_sets = list(tests.values())
        self._train_batches = train_batches

    def train_dataloader(self) -> DataLoader[Batch]:
        """Few-shot features, shuffled as a function of (seed, epoch)."""
        return _loader(
            self._train_set, self._train_batches(len(self._train_set), batches_done=lambda: batches_done(self))
        )

    def test_dataloader(self) -> list[DataLoader[Batch]]:
        """Features of each test set, in the order given."""
        return [_loader(dataset, SequentialBatches(len(dataset), _EVAL_BATCH_SIZE)) for dataset in self._test_sets]


def _rows(views: Sequence[Tensor] | Tensor, where: Sequence[SampleIndex]) -> Tensor:
    """Row of each sample in the view of its epoch; a batch has mostly samples of one epoch."""
    number, *others = {sample.epoch % len(views) for sample in where}
    if not others:
        return views[number][torch.tensor([sample.row for sample in where])]
    return torch.stack([views[sample.epoch % len(views)][sample.row] for sample in where])


def _loader(dataset: FeatureDataset, batches: Sampler[list[SampleIndex]]) -> DataLoader[Batch]:
    return DataLoader(dataset, batch_sampler=batches, collate_fn=_as_is)


def _as_is(batch: Any) -> Any:  # noqa: ANN401 -- DataLoader types it as a list of samples
    return batch
