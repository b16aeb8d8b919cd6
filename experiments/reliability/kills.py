"""Kill `negprompt train` at every phase, start it again until it is done, and compare with a run never disturbed.

    python experiments/reliability/kills.py                       # 104 SIGKILLs and 12 other signals
    python experiments/reliability/kills.py --kills 6 --signals 0 # a short one

The command is the real one in a process of its own, forked from a process that has imported everything, so that a
restart costs tenths of a second. Signals are sent from outside. The phase is a byte in shared memory, written by
functions of the product that are wrapped here; it is read after the process is dead, so it is the phase it died in.
"""

from __future__ import annotations

import argparse
import csv
import functools
import mmap
import os
import pkgutil
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

from negprompt.cli import main, run, train  # noqa: F401 -- imported before the first fork

HERE = Path(__file__).parent
FILES = ("prompts.safetensors", "scores.npz", "metrics.json", "metrics.csv")
PHASES = (
    *(
        "loading",
        "image features",
        "training",
        "saving a checkpoint",
        "end of an epoch",
        "end of a stage",
        "evaluation",
    ),
    "elsewhere in a stage",
)
LOADING, FEATURES, TRAINING, SAVING, EPOCH_END, STAGE_END, EVALUATION, ELSEWHERE = range(len(PHASES))
PLACES = (
    ("negprompt.features.store.FeatureStore.get", FEATURES),
    ("lightning.Trainer.fit", TRAINING),
    ("negprompt.training.checkpoint.AtomicCheckpointIO.save_checkpoint", SAVING),
    ("negprompt.training.callbacks.Checkpoints.on_train_epoch_end", EPOCH_END),
    ("negprompt.api._run", ELSEWHERE),
    ("negprompt.phases.make_bundle", STAGE_END),
    ("negprompt.prompts.bundle.to_bytes", STAGE_END),
    ("negprompt.api.provenance", STAGE_END),
    ("negprompt.runs.folder.RunFolder.mark_done", STAGE_END),
    ("negprompt.phases.test", EVALUATION),
)
SHORT = (
    *("data=icons_hard_4", "data.num_shots=2", "trainer.progress_bar=false", "trainer=cpu"),
    *("method.optimizer.epochs=40", "method.optimizer.min_steps=0"),
    *("method.positive.optimizer.epochs=30", "method.positive.optimizer.min_steps=0", "method.optimizer.batch_size=8"),
)
PICTURES = "pictures, 2 loader processes"
CASES = {
    "stored features": SHORT,
    "stored features, 2 views": (*SHORT, "features.views=2"),
    PICTURES: (*SHORT, "features=none", "trainer.num_workers=2"),
}
CODES = {number: 128 + number for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)}


class Stop(NamedTuple):
    """A process that was stopped: by what, in which phase, with which exit code (negative: killed)."""

    case: str
    seed: int
    signal: str
    phase: str
    code: int


# --- the command ---------------------------------------------------------------------------------------------------


def start(words: tuple[str, ...], phase: mmap.mmap, log: Path) -> int:
    """Fork a process that runs `negprompt train <words>`; returns its number."""
    phase[0] = LOADING
    child = os.fork()
    if child:
        return child
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(file, 1)
    os.dup2(file, 2)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for name, number in PLACES:
        owner, _, attribute = name.rpartition(".")
        place = pkgutil.resolve_name(owner)
        setattr(place, attribute, _watched(getattr(place, attribute), number, phase))
    sys.argv = ["negprompt", "train", *words]
    code = 0
    try:
        main.main()
    except SystemExit as end:
        code = int(end.code or 0)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _watched(function: Callable[..., object], number: int, phase: mmap.mmap) -> Callable[..., object]:
    @functools.wraps(function)
    def watched(*args: object, **kwargs: object) -> object:
        before, phase[0] = phase[0], number
        try:
            return function(*args, **kwargs)
        finally:
            phase[0] = before

    return watched


def finish(child: int) -> int:
    """Exit code of a process, negative where a signal ended it."""
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


# --- the disturbance -----------------------------------------------------------------------------------------------


def disturb(
    child: int, phase: mmap.mmap, wanted: int, number: signal.Signals, chance: random.Random
) -> tuple[int, int] | None:
    """Send a signal some time after a phase was entered for some time; None where the process ended before.

    Returns the exit code and the phase that the process was in: when it was dead, or, where it saves first and so
    leaves the phase, when the signal was sent.
    """
    skipped = {SAVING: chance.randrange(5), EPOCH_END: chance.randrange(5)}.get(wanted, chance.randrange(2))
    delay = {SAVING: 0.004, EPOCH_END: 0.002, STAGE_END: 0.01}.get(wanted, 0.5) * chance.random()
    inside = False
    while True:
        ended, _ = os.waitpid(child, os.WNOHANG)
        if ended:
            return None
        now = phase[0] == wanted
        if now and not inside:
            skipped -= 1
        inside = now
        if inside and skipped < 0:
            break
        time.sleep(0 if wanted in (SAVING, EPOCH_END, STAGE_END) else 0.001)
    time.sleep(delay)
    sent = phase[0]
    os.kill(child, number)
    code = finish(child)
    return code, phase[0] if number == signal.SIGKILL else sent


def results(runs: Path) -> dict[str, bytes]:
    """Content of all files that must not differ, by run and name."""
    folders = [done.parent for done in runs.rglob("DONE")]
    return {f"{folder.relative_to(runs)}/{name}": (folder / name).read_bytes() for folder in folders for name in FILES}


def plan(kills: int, signals: int) -> list[tuple[int, signal.Signals]]:
    """What to do: a fifth of the kills and more in each of saves and ends, the rest anywhere."""
    phases = (SAVING, EPOCH_END, STAGE_END, TRAINING, EVALUATION, FEATURES)
    shares = (0.25, 0.125, 0.125, 0.2, 0.15, 0.15)
    wanted = [
        (phase, signal.SIGKILL)
        for phase, share in zip(phases, shares, strict=True)
        for _ in range(round(kills * share))
    ]
    others = (TRAINING, SAVING, EPOCH_END, EVALUATION)
    return wanted + [(others[place % 4], list(CODES)[place % 3]) for place in range(signals)]


def compare(
    case: str, seed: int, stops: list[tuple[int, signal.Signals]], work: Path, chance: random.Random
) -> list[Stop]:
    """One run, stopped again and again, against the same run never stopped.

    Takes from `stops` what could be done.

    Raises:
        AssertionError: the results differ, or an exit code is wrong.
    """
    phase = mmap.mmap(-1, 1)
    words = (*CASES[case], f"seed={seed}")
    calm, rough = (work / f"{name}-{seed}" for name in ("calm", "rough"))
    log = work / "log.txt"
    if finish(start((*words, f"paths.runs_dir={calm}"), phase, log)) != 0:
        raise AssertionError(log.read_text())
    done: list[Stop] = []
    command = (*words, f"paths.runs_dir={rough}")
    for wanted, number in list(stops):
        child = start(command, phase, log)
        stopped = disturb(child, phase, wanted, number, chance)
        if stopped is None:
            break  # finished, since the phase did not come again
        code, when = stopped
        if code == 0:
            break  # it was at its end already
        if code != (-number if number == signal.SIGKILL else CODES[number]):
            raise AssertionError(f"{number.name} ended with {code}: {log.read_text()}")
        if when != LOADING:
            stops.remove((wanted, number))
            done.append(Stop(case, seed, number.name, PHASES[when], code))
    if finish(start(command, phase, log)) != 0:
        raise AssertionError(log.read_text())
    if (one := results(rough)) != results(calm) or len(one) != 2 * len(FILES):
        raise AssertionError(f"{case}, seed {seed}: the results differ, see {work}")
    return done


# --- the table -----------------------------------------------------------------------------------------------------


def table(stops: list[Stop], runs: int) -> str:
    """Markdown: phases down, signals across."""
    signals = ["SIGKILL", "SIGTERM", "SIGINT", "SIGUSR1"]
    counts = Counter((stop.phase, stop.signal) for stop in stops)
    lines = [f"| phase at the end | {' | '.join(signals)} |", f"|---|{'---:|' * len(signals)}"]
    lines += [f"| {name} | {' | '.join(str(counts[name, one]) for one in signals)} |" for name in PHASES[1:]]
    totals = [sum(stop.signal == one for stop in stops) for one in signals]
    lines += [f"| all | {' | '.join(map(str, totals))} |", ""]
    lines += [
        f"{runs} runs of two stages were stopped {len(stops)} times; every file equals that of the run never stopped."
    ]
    return "\n".join(lines) + "\n"


def measure(kills: int, signals: int, seed: int, output: Path) -> None:
    """Do it, going on where it was stopped itself, and write the table."""
    torch.set_num_threads(1)
    stops = before(output / "kills.csv")
    runs = 1 + max((stop.seed for stop in stops), default=-1)
    chance = random.Random(seed + runs)
    wanted = plan(kills, signals)
    chance.shuffle(wanted)
    for stop in stops:  # whatever the phase: which one a stop meets is not for us to say
        done = next((one for one in wanted if one[1].name == stop.signal), None)
        if done is not None:
            wanted.remove(done)
    work = Path(tempfile.mkdtemp(prefix="kills-"))
    while wanted:
        case = list(CASES)[2 if runs % 5 == 4 else runs % 2]  # without a store every start reads all pictures again
        if case == PICTURES:  # nothing is stored; and a start takes long, so a few will do
            wanted.sort(key=lambda one: one[0] == FEATURES)
            some = [one for one in wanted[:6] if one[0] != FEATURES]
        else:
            some = wanted[: 10 + chance.randrange(10)]
        taken = len(some)
        # The phases of a run come in an order: earlier ones first, or they would never be met.
        some.sort(key=lambda one: (one[0] != FEATURES, one[0] == EVALUATION))
        rest = wanted[taken:]
        stops += compare(case, runs, some, work, chance)
        wanted = rest + some
        chance.shuffle(wanted)
        runs += 1
        for folder in work.glob("*-*"):
            shutil.rmtree(folder)
        write(stops, runs, output)
        print(f"run {runs} ({case}): {len(stops)} stops so far, {len(wanted)} to go", flush=True)
    shutil.rmtree(work)
    print(table(stops, runs))


def before(table: Path) -> list[Stop]:
    """What an earlier start of this script has measured."""
    if not table.is_file():
        return []
    with table.open(newline="") as file:
        rows = csv.DictReader(file)
        return [Stop(row["case"], int(row["seed"]), row["signal"], row["phase"], int(row["code"])) for row in rows]


def write(stops: list[Stop], runs: int, output: Path) -> None:
    """Both tables, after every run: what was measured is kept whatever happens to this script."""
    output.mkdir(parents=True, exist_ok=True)
    with (output / "kills.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(Stop._fields)
        writer.writerows(stops)
    (output / "kills.md").write_text(table(stops, runs))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=104)
    parser.add_argument("--signals", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=HERE)
    given = parser.parse_args()
    measure(given.kills, given.signals, given.seed, given.output)
