"""Which of several processes this one is; one process is rank 0 of 1."""

from __future__ import annotations

import atexit
import datetime
import os
from collections.abc import Callable
from typing import TypeVar

import torch
import torch.distributed as dist

from negprompt.errors import ConfigError

Value = TypeVar("Value")
_PATIENCE = datetime.timedelta(hours=24)
"""How long processes wait for rank 0, which may itself wait for another job's features; a dead one ends all at once."""


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


def of_rank_zero(value: Value) -> Value:
    """What rank 0 has for `value`: where processes must not look at a changing file system one by one."""
    if world_size() == 1:
        return value
    box = [value]
    dist.broadcast_object_list(box)
    return box[0]


def zero_first(make: Callable[[], Value]) -> Value:
    """What each process makes for itself, after rank 0 did: where the first one leaves something that saves work."""
    if rank() > 0:
        barrier()
    value = make()
    if rank() == 0:
        barrier()
    return value


def join(processes: int, *, on_gpu: bool) -> None:
    """Make this process one of several that `torchrun` (or `negprompt` itself) started.

    Raises:
        ConfigError: another number of processes was started.
    """
    if processes == world_size():
        return
    started = int(os.environ.get("WORLD_SIZE", "1"))
    if started != processes:
        msg = (
            f"trainer.devices={processes}, and the number of processes that were started is {started}: use the "
            f"negprompt command, or start your script with torchrun --nproc-per-node={processes}."
        )
        raise ConfigError(msg)
    if on_gpu:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl" if on_gpu else "gloo", timeout=_PATIENCE)
    atexit.register(_leave)


def _leave() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


def _distributed() -> bool:
    return dist.is_available() and dist.is_initialized()
