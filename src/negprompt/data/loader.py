"""A DataLoader whose processes outlive signals to the whole job, from their first moment on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch.utils.data import DataLoader

from negprompt import stopping

if TYPE_CHECKING:
    from torch.utils.data.dataloader import _BaseDataLoaderIter


class Loader(DataLoader[Any]):
    """Give it `worker_init_fn=stopping.leave_to_parent`: until that has run, signals wait."""

    def __iter__(self) -> _BaseDataLoaderIter:
        """Batches; starts the loader processes."""
        with stopping.held_back():
            return super().__iter__()
