"""Several processes for one command, one a device: started by torchrun's engine, which ends them all when one fails."""

from __future__ import annotations

import logging
import os
import secrets
import signal
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from negprompt import stopping
from negprompt.errors import ConfigError, RunBusyError

_RANK, _WORLD = "RANK", "WORLD_SIZE"
_LOST_PEER = ("gloo", "NCCL", "Connection reset by peer")


def needed(configs: Sequence[Mapping[str, Any]]) -> int:
    """Processes to start for these runs; 1 where torchrun or a cluster has started them already.

    Raises:
        ConfigError: the runs of one command want different numbers.
    """
    if is_one_of_several():
        return 1
    numbers = sorted({config.get("trainer", {}).get("devices", 1) for config in configs})
    if len(numbers) > 1:
        msg = f"trainer.devices={','.join(map(str, numbers))}: the runs of one command share their processes; set one."
        raise ConfigError(msg)
    return numbers[0] if numbers else 1


def start(processes: int, name: str, words: Sequence[str]) -> int:
    """Run the same command in several processes; returns the exit code.

    Args:
        processes: how many.
        name: of the command.
        words: what follows it.
    """
    # Here, since they take a second to import and most runs have one process.
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)  # our own message says what failed
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // processes)))
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        run_id=secrets.token_hex(8),
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
        monitor_interval=0.1,
    )
    try:
        elastic_launch(config, sys.executable)("-m", "negprompt", name, *words)
    except ChildFailedError as error:
        _, first = error.get_first_failure()
        return int(first.exitcode) if first.exitcode > 0 else 128 - int(first.exitcode)
    except SignalException as stopped:
        return 128 + int(stopped.sigval)
    except KeyboardInterrupt:  # a signal that torchrun's engine does not know; it has ended the processes
        return 128 + (stopping.received() or signal.SIGINT)
    return 0


def is_one_of_several() -> bool:
    """Whether this process was started as one of several."""
    return int(os.environ.get(_WORLD, "1")) > 1


def is_silent() -> bool:
    """Whether another process speaks for this one."""
    return int(os.environ.get(_RANK, "0")) > 0


def follows_another(error: BaseException) -> bool:
    """Whether an error only says what another process tells: that it is gone, or that the run is busy."""
    if isinstance(error, RunBusyError):
        return is_silent()
    return is_one_of_several() and any(word in str(error) for word in _LOST_PEER)
