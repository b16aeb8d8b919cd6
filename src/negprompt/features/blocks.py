"""Blocks of pictures for extraction: each is decoded as a whole, while the image tower works on the one before."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple, TypedDict

from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from negprompt.data.datamodule import ImageDataset
from negprompt.features.key import View
from negprompt.types import ImageSpec, SampleIndex

_AHEAD = 2
"""Blocks that are ready or in work while one is encoded: memory for their pixels against waiting for a slow one."""


class Block(NamedTuple):
    """Rows `start` .. `end` - 1 of view number `view` of a request."""

    view: int
    start: int
    end: int


class BlockBatch(TypedDict):
    """Pixels (B, 3, H, W) of a block, float32 and normalised, and where its features belong."""

    image: Tensor
    view: int
    start: int


class BlockDataset(Dataset[BlockBatch]):
    """Blocks of several views, decoded when asked for."""

    def __init__(self, views: Sequence[View], spec: ImageSpec, blocks: Sequence[Block]) -> None:
        self._views = views
        self._sets = [ImageDataset(view.images, spec, view.augmentation, view.seed) for view in views]
        self._blocks = blocks

    def __len__(self) -> int:
        """Number of blocks."""
        return len(self._blocks)

    def __getitem__(self, place: int) -> BlockBatch:
        """Block number `place`."""
        view, start, end = self._blocks[place]
        where = [SampleIndex(row, self._views[view].number) for row in range(start, end)]
        return {"image": self._sets[view].__getitems__(where)["image"], "view": view, "start": start}


class BlockLoader:
    """All blocks in order: from a thread of this process, or from loader processes.

    One thread is enough here: decoding gives the interpreter's lock back, and costs less than the tower.
    """

    def __init__(self, dataset: BlockDataset, num_workers: int) -> None:
        self._dataset = dataset
        self._num_workers = num_workers

    def __len__(self) -> int:
        """Number of blocks."""
        return len(self._dataset)

    def __iter__(self) -> Iterator[BlockBatch]:
        """Blocks, some of them made ahead."""
        if self._num_workers > 0:
            loader: DataLoader[Any] = DataLoader(self._dataset, batch_size=None, num_workers=self._num_workers)
            yield from loader
            return
        waiting: deque[Future[BlockBatch]] = deque()
        with ThreadPoolExecutor(1, thread_name_prefix="decode") as pool:
            try:
                for place in range(len(self)):
                    waiting.append(pool.submit(self._dataset.__getitem__, place))
                    if len(waiting) > _AHEAD:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                pool.shutdown(wait=True, cancel_futures=True)
