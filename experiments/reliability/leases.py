"""Processes that race for one run folder, whose owners are killed again and again: never two at a time.

    python experiments/reliability/leases.py

Each of eight processes forks children that hold the folder for some milliseconds; nearly a third are killed while they
hold it. A pause between the look at a dead owner and the takeover, put in from outside, makes room for others to come
between. Writes leases.md beside this file.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from negprompt.errors import RunBusyError, RunError
from negprompt.runs import lease as leases

HERE = Path(__file__).parent
PROCESSES, PAUSE_S, HOLD_S, KILLED = 8, 0.02, 0.002, 0.3
HELD, TWO_AT_ONCE, LOST, BUSY = 0, 3, 4, 5


def slowed(look: Callable[..., object]) -> Callable[..., object]:
    """The look at who holds a folder, after which this process sometimes sleeps."""

    def slow(*given: object) -> object:
        found = look(*given)
        time.sleep(random.choice((0, 0, 0, PAUSE_S)))
        return found

    return slow


def turn(folder: Path) -> int:
    """Hold the folder once, as a process of its own; its exit code says how that went."""
    in_use = folder.parent / "in use"
    try:
        with leases.lease(folder, heartbeat=60) as held:
            try:
                os.close(os.open(in_use, os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                return TWO_AT_ONCE
            time.sleep(HOLD_S)
            try:
                held.check()
            except RunError:
                return LOST
            finally:
                in_use.unlink()
            if random.random() < KILLED:
                os.kill(os.getpid(), signal.SIGKILL)
    except RunBusyError:
        return BUSY
    return HELD


def race(folder: Path, seconds: float, answers: multiprocessing.SimpleQueue[Counter[int]]) -> None:
    """Turn after turn."""
    random.seed(os.getpid())
    codes: Counter[int] = Counter()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        child = os.fork()
        if not child:
            os._exit(turn(folder))
        codes[os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])] += 1
    answers.put(codes)


def main() -> None:
    """Race, count, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=40)
    parser.add_argument("--output", type=Path, default=HERE)
    given = parser.parse_args()
    leases._present = slowed(leases._present)
    context = multiprocessing.get_context("fork")
    answers = context.SimpleQueue()
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work) / "run"
        folder.mkdir()
        racers = [context.Process(target=race, args=(folder, given.seconds, answers)) for _ in range(PROCESSES)]
        for one in racers:
            one.start()
        codes = sum((answers.get() for _ in racers), Counter[int]())
    killed = codes[-signal.SIGKILL]
    text = (
        f"{PROCESSES} processes, {given.seconds:g} s: the folder was held {codes[HELD] + killed} times, {killed} of\n"
        f"its owners were killed while they held it; two at once: {codes[TWO_AT_ONCE]}, taken from a live owner: "
        f"{codes[LOST]},\nturned away: {codes[BUSY]}.\n"
    )
    given.output.mkdir(parents=True, exist_ok=True)
    (given.output / "leases.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
