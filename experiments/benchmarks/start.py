"""What the start of a sweep's member costs: a finished run asked for again, which only starts, checks and says so.

    python experiments/benchmarks/start.py

Once as a process of its own, once forked from the nursery (`negprompt.cli.sweep.nursery`), as the members of a sweep on
this machine and those that share a job are; in turns (A B A B ...), seconds from start to end. The second table says
which libraries the imports load, each with what it loads itself. Writes `results/start.md` and `.csv`.
"""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import IO

import common

from negprompt.cli.sweep import children

RUN = (
    "trainer=cpu", "trainer.progress_bar=false", "features.views=1", "data.num_shots=1", "method=coop",
    "method.optimizer.epochs=1", "method.optimizer.min_steps=0",
)  # fmt: skip
ENVIRONMENT = {"OMP_NUM_THREADS": "1"}
_IMPORT = re.compile(r"import time:\s+(\d+) \|\s+\d+ \| \s*(\S+)")


def words(folder: str) -> list[str]:
    """The command of the run."""
    return ["train", *RUN, f"paths.runs_dir={folder}"]


def seconds(folder: str, output: IO[bytes]) -> float:
    """One start, as `children` does it now."""
    begun = time.perf_counter()
    if children.run(words(folder), environment=ENVIRONMENT, output=output, own_session=True):
        raise SystemExit("the run failed")
    return time.perf_counter() - begun


def shares(folder: str) -> list[tuple[str, float]]:
    """Share of each library in the time that imports take, the largest first."""
    command = [sys.executable, "-X", "importtime", "-m", "negprompt", *words(folder)]
    said = subprocess.run(command, env={**os.environ, **ENVIRONMENT}, capture_output=True, text=True, check=True).stderr
    found: Counter[str] = Counter()
    for microseconds, module in _IMPORT.findall(said):
        found[module.partition(".")[0]] += int(microseconds)
    total = sum(found.values())
    return [(name, value / total) for name, value in found.most_common(10)]


def main() -> None:
    """Measure in turns and write the tables."""
    given = common.checked(common.parser(__doc__))
    alone: list[float] = []
    forked: list[float] = []
    with tempfile.TemporaryDirectory() as folder, Path(os.devnull).open("wb") as output:
        seconds(folder, output)  # the run itself
        for turn in range(given.rounds + 1):
            common.progress(f"round {turn} of {given.rounds}")
            one = seconds(folder, output)
            with children.forked(ENVIRONMENT, own_session=True):
                seconds(folder, output)  # waits for the nursery's imports, which a sweep pays once
                two = seconds(folder, output)
            if turn > 0:  # the first fills caches
                alone.append(one)
                forked.append(two)
        parts = shares(folder)
    rows = [{"library": name, "share of the imports": f"{100 * share:.0f} %"} for name, share in parts]
    notes = [
        f"A process of its own over a forked member: {common.ratio(alone, forked)}; "
        f"{statistics.median(alone):.1f} and {statistics.median(forked):.1f} seconds on this machine, as it was",
        "Both load the backbone, hash weights and pictures, and find the run finished",
        "A library's share is what its own modules take, without those that they import",
    ]
    common.write("start", "The start of a member of a sweep", rows, notes, given)


if __name__ == "__main__":
    main()
