"""All shards of some sets, by several processes that end with the one that started them."""

from __future__ import annotations

import logging
import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from negprompt.data.shards.packing import Packed, Packer, Plan
from negprompt.errors import RunError

log = logging.getLogger(__name__)


def pack_all(packer: Packer, planned: Sequence[Plan], workers: int) -> tuple[dict[str, Packed], int]:
    """Write the shards that are not written yet.

    Args:
        packer: writes one.
        planned: all shards.
        workers: processes.

    Returns:
        All shards by name, and how many of them are written now.

    Raises:
        DataError: a picture is missing or corrupt.
        RunError: the folder cannot be written, or a process was killed.
    """
    done = {plan.name: packed for plan in planned if (packed := packer.done(plan)) is not None}
    left = [plan for plan in planned if plan.name not in done]
    if done and left:
        log.info("going on: %d of %d shards are written", len(done), len(planned))
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("pictures in shards", total=sum(len(plan.rows) for plan in left))
        for plan, packed in _written(packer, left, min(workers, len(left))):
            done[plan.name] = packed
            progress.advance(task, len(plan.rows))
    return done, len(left)


def _written(packer: Packer, planned: Sequence[Plan], workers: int) -> Iterator[tuple[Plan, Packed]]:
    if workers <= 1:
        yield from ((plan, packer.pack(plan)) for plan in planned)
        return
    # A fork shares the names of a million pictures; elsewhere than on Linux it is not safe.
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else None)
    with ProcessPoolExecutor(workers, context, _start, (packer, os.getpid())) as pool:
        futures = {pool.submit(_pack, plan): plan for plan in planned}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BrokenProcessPool as error:
            msg = (
                f"A process that wrote shards in {packer.output} was killed, perhaps for lack of memory: run the same "
                "command again, with fewer workers; what is written is kept."
            )
            raise RunError(msg) from error
        finally:
            pool.shutdown(cancel_futures=True)


_packer: Packer


def _start(packer: Packer, parent: int) -> None:
    """Begin a worker, which ends with the process that started it, however that one ends."""
    global _packer  # sent once, not with every shard
    _packer = packer

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _pack(plan: Plan) -> Packed:
    return _packer.pack(plan)
