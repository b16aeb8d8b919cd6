"""A sweep of twelve members, killed again and again and started again, against the same sweep never disturbed.

    python experiments/reliability/sweep.py

2 backbones x 2 prompt counts x 3 seeds on the embedded benchmark, two members at a time. SIGKILL goes to the process
that leads the sweep; its members follow it. Leaves sweep.csv, as the command wrote it, and sweep.md beside this file.
"""

from __future__ import annotations

import argparse
import csv
import glob
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from negprompt.runs.lease import holder

HERE = Path(__file__).parent
FILES = ("prompts.safetensors", "scores.npz", "metrics.json", "metrics.csv")
MEMBERS = ("backbone=tiny_rn,tiny_vit", "method.num_negatives=1,2", "seed=1,2,3")
FIXED = ("launcher=joblib", "launcher.n_jobs=2", "trainer=cpu", "trainer.progress_bar=false")


def command(runs: Path) -> list[str]:
    """The sweep, as it is typed."""
    return [sys.executable, "-m", "negprompt", "train", "--multirun", *MEMBERS, *FIXED, f"paths.runs_dir={runs}"]


def found(runs: Path, pattern: str) -> list[Path]:
    """Paths below `runs`, relative to it; folders may come and go meanwhile."""
    return [Path(name) for name in glob.glob(f"**/{pattern}", root_dir=runs, recursive=True, include_hidden=True)]  # noqa: PTH207 -- rglob may raise


def done(runs: Path) -> set[Path]:
    """Folders of finished runs, without the sweep's own."""
    return {path.parent for path in found(runs, "DONE")}


def results(runs: Path) -> dict[str, bytes]:
    """Content of all files that must not differ, by run and name."""
    return {f"{folder}/{name}": (runs / folder / name).read_bytes() for folder in done(runs) for name in FILES}


def disturbed(runs: Path, kills: int, chance: random.Random) -> list[int]:
    """Start the sweep, kill it after some time, and so on; returns how many runs were done at each start."""
    starts = []
    for _ in range(kills):
        starts.append(len(done(runs)))
        with subprocess.Popen(command(runs), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as child:
            before = len(done(runs))
            while child.poll() is None and len(done(runs)) < before + 3:
                time.sleep(0.1)
            time.sleep(3 * chance.random())
            child.send_signal(signal.SIGKILL)
        while alive(runs):  # members save what they have and end
            time.sleep(0.2)
    starts.append(len(done(runs)))
    subprocess.run(command(runs), check=True)
    return starts


def alive(runs: Path) -> bool:
    """Whether a process still holds one of the runs."""
    leases = found(runs, ".*.lease")
    return any(holder(runs / lease.with_name(lease.name[1:].removesuffix(".lease"))) for lease in leases)


def main() -> None:
    """Run both, compare, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=4)
    parser.add_argument("--output", type=Path, default=HERE)
    given = parser.parse_args()
    work = Path(tempfile.mkdtemp(prefix="sweep-"))
    calm, rough = work / "calm", work / "rough"
    subprocess.run(command(calm), check=True)
    starts = disturbed(rough, given.kills, random.Random(0))
    if (one := results(rough)) != results(calm):
        raise SystemExit(f"the results differ, see {work}")
    subprocess.run(command(rough), check=True, capture_output=True)
    (table,) = (rough / "_sweeps").glob("*/sweep.csv")
    reused = sum(row["state"] == "reused" for row in csv.DictReader(table.open(newline="")))
    given.output.mkdir(parents=True, exist_ok=True)
    (given.output / "sweep.csv").write_text(table.read_text().replace(str(rough), "runs"))
    runs = len(one) // len(FILES)
    text = (
        f"{runs} runs: 12 members and the stage-1 runs that they share, two at a time. The process that leads the\n"
        f"sweep was killed {given.kills} times; runs that were finished at each start: {', '.join(map(str, starts))}.\n"
        f"All {len(one)} files equal those of the sweep never disturbed; the same command once more reuses "
        f"{reused} members.\n"
    )
    (given.output / "sweep.md").write_text(text)
    print(text)
    shutil.rmtree(work)


if __name__ == "__main__":
    main()
