"""Which of several processes this one is; one process is rank 0 of 1."""

from __future__ import annotations

import torch.distributed as dist


def rank() -> int:
    """Number of this process, 0 where there is only one."""
    return dist.get_rank() if _distributed() else 0


def world_size() -> int:
    """Number of processes that work together."""
    return dist.get_world_size() if _distributed() else 1


def barrier() -> None:
    """Wait until all processes are here; nothing for a single one."""
    if _distributed():
        dist.barrier()


def _distributed() -> bool:
    return dist.is_available() and dist.is_initialized()
