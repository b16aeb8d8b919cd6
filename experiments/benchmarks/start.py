"""What a child process costs before it works: a finished run asked for again, which only starts, checks and says so.

    python experiments/benchmarks/start.py [--before OTHER_CHECKOUT/src]

Every member of a sweep is such a process. Measured is user time of the processor, which another load on the machine
changes less than seconds; `--before` takes turns with another state of the code (A B A B ...). The second table says
which libraries the imports load, each with what it loads itself. Writes `results/start.md` and `.csv`.
"""

from __future__ import annotations

import os
import re
import resource
import statistics
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import common

SOURCE = Path(__file__).parents[2] / "src"
RUN = (
    "trainer=cpu", "trainer.progress_bar=false", "features.views=1", "data.num_shots=1", "method=coop",
    "method.optimizer.epochs=1", "method.optimizer.min_steps=0",
)  # fmt: skip
_IMPORT = re.compile(r"import time:\s+(\d+) \|\s+\d+ \| \s*(\S+)")


def command(source: Path, folder: str, *python: str) -> tuple[float, str]:
    """User seconds of one start on a state of the code, and what it said on standard error."""
    environment = {**os.environ, "PYTHONPATH": str(source), "OMP_NUM_THREADS": "1"}
    words = [sys.executable, *python, "-m", "negprompt", "train", *RUN, f"paths.runs_dir={folder}"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before, done.stderr


def shares(source: Path, folder: str) -> list[tuple[str, float]]:
    """Share of each library in the time that imports take, the largest first."""
    _, said = command(source, folder, "-X", "importtime")
    seconds: Counter[str] = Counter()
    for microseconds, module in _IMPORT.findall(said):
        seconds[module.partition(".")[0]] += int(microseconds)
    total = sum(seconds.values())
    return [(name, value / total) for name, value in seconds.most_common(10)]


def main() -> None:
    """Measure in turns and write the tables."""
    arguments = common.parser(__doc__)
    arguments.add_argument("--before", type=Path, help="src folder of another state of the code")
    given = common.checked(arguments)
    sources = {"now": SOURCE} | ({"before": given.before.resolve()} if given.before else {})
    seconds: dict[str, list[float]] = {name: [] for name in sources}
    with tempfile.TemporaryDirectory() as folder:
        command(SOURCE, folder)  # the run itself
        for turn in range(given.rounds + 1):
            for name, source in sources.items():
                common.progress(f"round {turn} of {given.rounds}: {name}")
                used, _ = command(source, folder)
                if turn > 0:  # the first fills caches
                    seconds[name].append(used)
        parts = shares(SOURCE, folder)
    rows = [{"library": name, "share of the imports": f"{100 * share:.0f} %"} for name, share in parts]
    notes = [
        f"{statistics.median(seconds['now']):.1f} seconds of user time for a whole start that finds its run finished: "
        "imports, settings composed and checked, weights and pictures hashed; another machine takes other seconds",
        "A library's share is what its own modules take, without those that they import",
    ]
    if given.before:
        notes.insert(
            0, f"User time of the state before over that of now: {common.ratio(seconds['before'], seconds['now'])}"
        )
    common.write("start", "The start of a member of a sweep", rows, notes, given)


if __name__ == "__main__":
    main()
