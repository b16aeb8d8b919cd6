"""Stateless batches: epoch and position in it give the indices, so a resumed run goes on with the very next batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
from torch.utils.data import Sampler

from negprompt.errors import ConfigError
from negprompt.types import SampleIndex


class EpochBatchSampler(Sampler[list[SampleIndex]]):
    """Shuffled batches whose order is a function of (seed, epoch); nothing is remembered between calls.

    Args:
        num_samples: pictures in the training set.
        batch_size: pictures a step; the last, smaller batch is dropped where there is at least one full one (Dassl).
        seed: of the permutations.
        batches_done: number of batches trained since the beginning of the run, asked at the start of each epoch.
        rank: part of each batch that this process gets.
        world_size: number of parts; `batch_size` is that of all parts together.
        order: a permutation of the rows for each epoch; None for a random one of all of them.

    Raises:
        ConfigError: fewer pictures in a batch than processes.
    """

    def __init__(
        self,
        num_samples: int,
        batch_size: int,
        seed: int,
        batches_done: Callable[[], int],
        rank: int = 0,
        world_size: int = 1,
        order: Callable[[int], npt.NDArray[np.int64]] | None = None,
    ) -> None:
        if min(batch_size, num_samples) < world_size:
            msg = (
                f"A batch of {min(batch_size, num_samples)} pictures cannot be shared by trainer.devices={world_size}: "
                "raise method.optimizer.batch_size, lower trainer.devices or set features=store."
            )
            raise ConfigError(msg)
        self._num_samples = num_samples
        self._batch_size = batch_size
        self._batches_done = batches_done
        self._part = slice(rank, None, world_size)
        self._order = order or (lambda epoch: np.random.default_rng([seed, epoch]).permutation(num_samples))

    def __len__(self) -> int:
        """Batches in an epoch."""
        return max(1, self._num_samples // self._batch_size)

    def __iter__(self) -> Iterator[list[SampleIndex]]:
        """Batches from the present position to the end of its epoch."""
        epoch, start = divmod(self._batches_done(), len(self))
        order = self._order(epoch)
        for batch in range(start, len(self)):
            rows = order[batch * self._batch_size : (batch + 1) * self._batch_size]
            yield [SampleIndex(int(row), epoch) for row in rows[self._part]]
