"""Blocks of pictures for extraction: each is decoded as a whole, while the image tower works on the one before."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import groupby, zip_longest
from typing import NamedTuple, TypedDict

from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from negprompt import stopping
from negprompt.data.datamodule import ImageDataset
from negprompt.data.loader import Loader
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
    """Blocks of several views, decoded when asked for.

    The pictures of the last block are kept as they were decoded, for its next view: on photographs, decoding is most
    of the work. `blocks` with the same pictures therefore stand together.
    """

    def __init__(self, views: Sequence[View], spec: ImageSpec, blocks: Sequence[Block]) -> None:
        self._views = views
        self._sets = [ImageDataset(view.images, spec, view.augmentation, view.seed) for view in views]
        self._blocks = blocks
        self._decoded: tuple[object, list[Image.Image]] = (None, [])

    def __len__(self) -> int:
        """Number of blocks."""
        return len(self._blocks)

    def __getitem__(self, place: int) -> BlockBatch:
        """Block number `place`."""
        view, start, end = self._blocks[place]
        where = [SampleIndex(row, self._views[view].number) for row in range(start, end)]
        same = (id(self._views[view].images), start, end)
        if self._decoded[0] != same:
            self._decoded = (same, list(self._sets[view].decoded(range(start, end))))
        return {"image": self._sets[view].transformed(self._decoded[1], where), "view": view, "start": start}


def together(blocks: Iterable[Block], views: Sequence[View]) -> list[Block]:
    """Blocks in an order that has those of the same pictures next to each other."""
    first = {id(view.images): number for number, view in reversed(list(enumerate(views)))}
    return sorted(blocks, key=lambda block: (first[id(views[block.view].images)], block.start, block.end, block.view))


def dealt(blocks: Sequence[Block], views: Sequence[View], workers: int) -> list[Block]:
    """Blocks that stand together, in an order that gives them to the same one of loader processes served in turn."""
    groups = groupby(blocks, key=lambda block: (id(views[block.view].images), block.start, block.end))
    hands = [list(group) for _, group in groups]
    rounds = (zip_longest(*hands[first : first + workers]) for first in range(0, len(hands), workers))
    return [block for turns in rounds for turn in turns for block in turn if block is not None]


class BlockLoader:
    """All blocks: from a thread of this process, or from loader processes.

    One thread is enough here: decoding gives the interpreter's lock back, and costs less than the tower.
    """

    def __init__(self, views: Sequence[View], spec: ImageSpec, blocks: Sequence[Block], num_workers: int) -> None:
        self._dataset = BlockDataset(views, spec, dealt(blocks, views, max(1, num_workers)))
        self._num_workers = num_workers

    def __len__(self) -> int:
        """Number of blocks."""
        return len(self._dataset)

    def __iter__(self) -> Iterator[BlockBatch]:
        """Blocks, some of them made ahead."""
        if self._num_workers > 0:
            loader = Loader(
                self._dataset, batch_size=None, num_workers=self._num_workers, worker_init_fn=stopping.leave_to_parent
            )
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
