"""How soon a `Detector` answers: fresh processes in turns, from the first import to the answer for one picture.

    python experiments/benchmarks/ready.py

`import torch` alone, which nothing with torch can undercut; a detector with `tiny_rn` (zero-shot prompts, 90 classes);
and the same without the stand-ins of `negprompt.standins`. Ratios are of the same round. Writes `results/ready.md` and
`.csv`.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import common

TORCH = "import torch"
ANSWER = """
detector = Detector.load({run!r}, device="cpu")
import numpy
detector(numpy.zeros((1, 64, 64, 3), numpy.uint8))
"""
WAYS = {
    "import torch": TORCH,
    "detector": f"from negprompt import Detector{ANSWER}",
    "detector without stand-ins": f"from negprompt.detector import Detector{ANSWER}",
}
MAKE = (
    "train", "method=zero_shot", "data=icons_hard_4", "trainer=cpu", "trainer.progress_bar=false",
    "features.views=1", "data.num_shots=1", "score=[mcm]",
)  # fmt: skip
TIMED = "import time; begun = time.perf_counter()\n{code}\nprint(time.perf_counter() - begun)"


def zero_shot_run(folder: Path) -> str:
    """The run of a detector with hand-written prompts, made below a folder."""
    command = [sys.executable, "-m", "negprompt", *MAKE, f"paths.runs_dir={folder}"]
    made = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return made.split("written to ")[-1].split()[0]


def seconds(code: str) -> float:
    """Of a fresh process, without the start of Python itself."""
    command = [sys.executable, "-c", TIMED.format(code=code)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return float(said.split()[-1])


def main() -> None:
    """Measure in turns and write the table."""
    given = common.checked(common.parser(__doc__))
    found: dict[str, list[float]] = {name: [] for name in WAYS}
    with tempfile.TemporaryDirectory() as folder:
        run = zero_shot_run(Path(folder))
        for turn in range(given.rounds + 1):
            common.progress(f"round {turn} of {given.rounds}")
            for name, code in WAYS.items():
                one = seconds(code.format(run=run))
                if turn > 0:  # the first fills caches
                    found[name].append(one)
    rows = [
        {
            "from a fresh process": name,
            "over import torch": str(common.ratio(times, found["import torch"])),
            "seconds, as the machine was": str(common.spread(times)),
        }
        for name, times in found.items()
    ]
    notes = [
        f"Without the stand-ins over with them: {common.ratio(found['detector without stand-ins'], found['detector'])}",
        "Median and range over the rounds; Python's own start is not in it",
    ]
    common.write("ready", "How soon a detector answers", rows, notes, given)


if __name__ == "__main__":
    main()
