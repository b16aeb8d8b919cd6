"""Memory of `negprompt predict` over a folder: that of its process, while the number of answers grows.

    python experiments/benchmarks/predicting.py [--images 100000]

A folder of hard links to 500 small PNG files, a zero-shot run with `tiny_rn`, the command as users type it. Its memory
(VmRSS) and the lines it has written are read every five seconds. Writes `results/predicting.md` and `.csv`.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import common
import numpy as np
from PIL import Image
from ready import zero_shot_run

DIFFERENT, IN_A_FOLDER, EVERY_S, PARTS = 500, 1000, 5.0, 5


def pictures(folder: Path, number: int) -> None:
    """Hard links to files of noise, a thousand in a folder."""
    base = folder.with_name("base")
    base.mkdir()
    random = np.random.default_rng(0)
    for place in range(DIFFERENT):
        content = io.BytesIO()
        Image.fromarray(random.integers(0, 256, (44, 44, 3), np.uint8)).save(content, "PNG")
        (base / f"{place}.png").write_bytes(content.getvalue())
    for place in range(number):
        inner = folder / f"{place // IN_A_FOLDER:04d}"
        inner.mkdir(parents=True, exist_ok=True)
        os.link(base / f"{place % DIFFERENT}.png", inner / f"{place:07d}.png")


def watched(command: list[str], answers: Path) -> list[tuple[int, float]]:
    """Answers written so far and gigabytes held, every few seconds until the command ends."""
    found = []
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None:
        time.sleep(EVERY_S)
        status = Path(f"/proc/{process.pid}/status").read_text() if process.poll() is None else ""
        kilobytes = [int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")]
        if kilobytes and answers.is_file():
            with answers.open("rb") as file:
                lines = max(0, sum(1 for _ in file) - 1)
            if lines:
                found.append((lines, kilobytes[0] / 1e6))
                common.progress(f"{lines} answers, {kilobytes[0] / 1e6:.2f} GB")
    if process.returncode:
        raise SystemExit("the command failed")
    return found


def main() -> None:
    """Make the folder, watch the command, write the table."""
    parser = common.parser(__doc__, timed=False)
    parser.add_argument("--images", type=int, default=100_000)
    given = common.checked(parser)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pictures(folder / "pictures", given.images)
        words = (f"run={zero_shot_run(folder)}", f"input={folder / 'pictures'}", f"output={folder / 'answers.csv'}")
        command = [sys.executable, "-m", "negprompt", "predict", *words, "trainer=cpu", "trainer.progress_bar=false"]
        found = watched(command, folder / "answers.csv")
    rows = []
    for part in range(PARTS):
        low, high = (given.images * end // PARTS for end in (part, part + 1))
        held = [gigabytes for lines, gigabytes in found if low < lines <= high]
        if held:
            row = {"answers": f"{low:,} to {high:,}", "least, GB": f"{min(held):.2f}", "most, GB": f"{max(held):.2f}"}
            rows.append(row)
    notes = ["Memory of the process while that many answers were written (VmRSS, read every five seconds)"]
    common.write("predicting", "Memory of predict over a folder", rows, notes, given)


if __name__ == "__main__":
    main()
