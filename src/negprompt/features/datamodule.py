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
    """Stored features (V, N, D) with labels (N,); epoch e reads view e mod V."""

    def __init__(self, views: Tensor, labels: Sequence[int]) -> None:
        self._views = views
        self._labels = torch.tensor(labels, dtype=torch.long)

    def __len__(self) -> int:
        """Number of pictures."""
        return len(self._labels)

    def __getitems__(self, where: Sequence[SampleIndex]) -> Batch:
        """A whole batch at once: gathering rows one by one would cost more than the training step."""
        index = torch.tensor([sample.row for sample in where])
        view = torch.tensor([sample.epoch % len(self._views) for sample in where])
        return {"image_features": self._views[view, index], "label": self._labels[index], "index": index}


class FeatureDataModule(lightning.LightningDataModule):
    """Loaders over stored features, in the order of `OODDataModule`.

    Args:
        train_views: (V, N, D) features of the training pictures.
        train_labels: (N,) labels.
        tests: set name -> (features (M, D), labels), the ID set first.
        train_batches: makes the training loader's batch sampler.
    """

    def __init__(
        self,
        train_views: Tensor,
        train_labels: Sequence[int],
        tests: Mapping[str, tuple[Tensor, Sequence[int]]],
        train_batches: BatchSamplerFactory,
    ) -> None:
        super().__init__()
        self._train_set = FeatureDataset(train_views, train_labels)
        self._test_sets = [FeatureDataset(features.unsqueeze(0), labels) for features, labels in tests.values()]
        self._train_batches = train_batches

    def train_dataloader(self) -> DataLoader[Batch]:
        """Few-shot features, shuffled as a function of (seed, epoch)."""
        return _loader(
            self._train_set, self._train_batches(len(self._train_set), batches_done=lambda: batches_done(self))
        )

    def test_dataloader(self) -> list[DataLoader[Batch]]:
        """ID test features, then each OOD set."""
        return [_loader(dataset, SequentialBatches(len(dataset), _EVAL_BATCH_SIZE)) for dataset in self._test_sets]


def _loader(dataset: FeatureDataset, batches: Sampler[list[SampleIndex]]) -> DataLoader[Batch]:
    return DataLoader(dataset, batch_sampler=batches, collate_fn=_as_is)


def _as_is(batch: Any) -> Any:  # noqa: ANN401 -- DataLoader types it as a list of samples
    return batch
