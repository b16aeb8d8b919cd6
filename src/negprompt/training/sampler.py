"""Stateless batches: epoch and position in it give the indices, so a resumed run goes on with the very next batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from torch.utils.data import Sampler

from negprompt.types import SampleIndex


class EpochBatchSampler(Sampler[list[SampleIndex]]):
    """Shuffled batches whose order is a function of (seed, epoch); nothing is remembered between calls.

    Args:
        num_samples: pictures in the training set.
        batch_size: pictures a step; the last, smaller batch is dropped where there is at least one full one (Dassl).
        seed: of the permutations.
        batches_done: number of batches trained since the beginning of the run, asked at the start of each epoch.
    """

    def __init__(self, num_samples: int, batch_size: int, seed: int, batches_done: Callable[[], int]) -> None:
        self._num_samples = num_samples
        self._batch_size = batch_size
        self._seed = seed
        self._batches_done = batches_done

    def __len__(self) -> int:
        """Batches in an epoch."""
        return max(1, self._num_samples // self._batch_size)

    def __iter__(self) -> Iterator[list[SampleIndex]]:
        """Batches from the present position to the end of its epoch."""
        epoch, start = divmod(self._batches_done(), len(self))
        order = np.random.default_rng([self._seed, epoch]).permutation(self._num_samples)
        for batch in range(start, len(self)):
            rows = order[batch * self._batch_size : (batch + 1) * self._batch_size]
            yield [SampleIndex(int(row), epoch) for row in rows]
