"""What the benchmarks share: arguments, the machine line, timing in turns, peak memory of a step, tables.

Times are only ever compared within one process: all candidates run in turn (A B A B ...), the first round is dropped,
and what counts is the median of the ratios of the other rounds.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import csv
import datetime
import logging
import multiprocessing
import os
import platform
import shlex
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

if "GOMP_SPINCOUNT" not in os.environ and "--one" not in sys.argv:  # idle threads sleep; read when torch is imported
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import open_clip
import torch

RESULTS = Path(__file__).parent / "results"
MIB = 2**20
NO_CUDA = 2
"""Exit code where a GPU is asked for and there is none."""

Value = TypeVar("Value")
Row = Mapping[str, object]

_PRELOADED = ["negprompt.methods.negprompt", "torch", "open_clip"]
_SMALLEST_MAPPING = 2**16
"""Blocks of memory from this size on go back to the system as soon as they are free, while memory is measured."""


class Spread(NamedTuple):
    """Median, smallest and largest of the rounds."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        digits = 2 if self.median < 10 else 1
        return f"{self.median:.{digits}f} ({self.low:.{digits}f}-{self.high:.{digits}f})"


def parser(description: str | None, *, timed: bool = True) -> argparse.ArgumentParser:
    """Arguments of every benchmark; a script adds its sizes. What is not `timed` has no rounds."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    made.add_argument("--precision", choices=("fp32", "bf16"), default="fp32", help="bf16: autocast, weights in fp32")
    if timed:
        made.add_argument("--rounds", type=int, default=5, help="measured rounds; one more comes first and is dropped")
    made.add_argument("--output", type=Path, default=RESULTS, help="folder of the tables")
    return made


def checked(made: argparse.ArgumentParser) -> argparse.Namespace:
    """Parse the command line; ends the process where the device is not there."""
    options = made.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        print("There is no CUDA device here: run on a machine with one, or use --device cpu.", file=sys.stderr)
        sys.exit(NO_CUDA)
    quiet()
    return options


def quiet() -> None:
    """Tables only: no messages about random weights, steps of a run, or the trainer's settings."""
    logging.disable(logging.WARNING)
    warnings.filterwarnings("ignore", module="lightning")


def autocast(device: str, precision: str) -> AbstractContextManager[None]:
    """The precision of a step, as Lightning's `32-true` and `bf16-mixed` have it."""
    return torch.autocast(device, torch.bfloat16, enabled=precision == "bf16")


def machine(options: argparse.Namespace) -> dict[str, str]:
    """What a figure depends on beside the code: stands above every table and in every row of a csv."""
    return {
        "device": device_name(options.device),
        "torch": torch.__version__,
        "open_clip": open_clip.__version__,
        "threads": str(torch.get_num_threads()),
        "precision": options.precision,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "command": command(),
    }


def command() -> str:
    """The command of this script, as typed in the repository's root."""
    return shlex.join(["python", f"experiments/benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]])


def device_name(device: str) -> str:
    """Name of the chip; for a CPU with the number of its cores."""
    if device == "cuda":
        return torch.cuda.get_device_name()
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.machine()}, {os.cpu_count()} cores"


def seconds_of(action: Callable[[], object], device: str) -> float:
    """Wall time of one call, until the device is done."""
    synchronise(device)
    start = time.perf_counter()
    action()
    synchronise(device)
    return time.perf_counter() - start


def synchronise(device: str) -> None:
    """Wait for a GPU; nothing on a CPU."""
    if device == "cuda":
        torch.cuda.synchronize()


def in_turns(actions: Mapping[str, Callable[[], object]], rounds: int, device: str) -> dict[str, list[float]]:
    """Seconds of each action in each round, all of them in turn; one round more comes first and is dropped."""
    seconds: dict[str, list[float]] = {name: [] for name in actions}
    for turn in range(rounds + 1):
        for name, action in actions.items():
            elapsed = seconds_of(action, device)
            if turn > 0:
                seconds[name].append(elapsed)
    return seconds


def ratio(slow: Sequence[float], fast: Sequence[float], scale: float = 1.0) -> Spread:
    """`scale` times slow / fast, round by round."""
    return spread([scale * one / other for one, other in zip(slow, fast, strict=True)])


def spread(values: Sequence[float]) -> Spread:
    """Median and range."""
    return Spread(statistics.median(values), min(values), max(values))


def difference(one: torch.Tensor, other: torch.Tensor) -> float:
    """Largest difference of two tensors, relative to the largest value of the first."""
    return float((one.double() - other.double()).abs().max() / one.double().abs().max())


def in_fresh_process(measure: Callable[..., Value], *arguments: object) -> Value | None:
    """Call a module-level function in a process that has run nothing yet; None where its memory did not suffice."""
    os.environ["MALLOC_MMAP_THRESHOLD_"] = str(_SMALLEST_MAPPING)  # read by the server of these processes as it starts
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOADED)
    with concurrent.futures.ProcessPoolExecutor(1, context, initializer=quiet) as pool:
        try:
            return pool.submit(measure, *arguments).result()
        except (torch.OutOfMemoryError, MemoryError, concurrent.futures.process.BrokenProcessPool):
            return None


def peak_bytes(step: Callable[[], object], warm_up: Callable[[], object], device: str) -> int:
    """Peak memory of a step over what was there before it; call it in a fresh process.

    Args:
        step: what is measured.
        warm_up: the same, tiny: libraries allocate on first use.
        device: `cuda`: torch.cuda.max_memory_allocated; `cpu`: peak resident memory, from the Linux kernel.
    """
    warm_up()
    if device == "cuda":
        synchronise(device)
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        step()
        return torch.cuda.max_memory_allocated() - before
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from what is resident now
    before = _resident("VmRSS")
    step()
    return _resident("VmHWM") - before


def memory_method(device: str) -> str:
    """How peak memory was measured, for the notes of a table."""
    if device == "cuda":
        return "Peak memory: `torch.cuda.max_memory_allocated` of one step minus what was allocated before it"
    return (
        "Peak memory: the highest resident memory of one step (VmHWM of /proc/self/status, reset before the step) "
        "minus that before it"
    )


def mib(size: float | None) -> int | None:
    """Bytes as MiB, None where there is no figure."""
    return None if size is None else round(size / MIB)


def write(name: str, title: str, rows: Sequence[Row], notes: Sequence[str], options: argparse.Namespace) -> None:
    """Print a table and write it as markdown and csv; a `Spread` becomes three columns of the csv.

    Args:
        name: of the script; tables made on a GPU end in `_gpu`.
        title: heading.
        rows: column -> value, all with the same columns; None where there is no figure.
        notes: what a reader must know, one line each.
        options: from `checked`.
    """
    facts = machine(options)
    stem = options.output / (f"{name}_gpu" if options.device == "cuda" else name)
    stem.parent.mkdir(parents=True, exist_ok=True)
    line = ", ".join(f"{key} {value}" for key, value in facts.items() if key not in ("device", "command"))
    lines = [f"# {title}", "", f"{facts['device']}; {line}", "", f"    {facts['command']}", "", *_markdown(rows), ""]
    text = "\n".join([*lines, *(f"* {note}." for note in notes), ""])
    stem.with_suffix(".md").write_text(text)
    flat = [{**_columns(row), **facts} for row in rows]
    with stem.with_suffix(".csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(flat[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(flat)
    print(text, flush=True)


def read(name: str, options: argparse.Namespace) -> list[dict[str, str]]:
    """Rows of a table that another benchmark wrote, none where it has not run."""
    file = options.output / (f"{name}_gpu.csv" if options.device == "cuda" else f"{name}.csv")
    if not file.is_file():
        return []
    with file.open(newline="") as opened:
        return list(csv.DictReader(opened))


def progress(text: str) -> None:
    """Say what runs, beside the table."""
    print(f"... {text}", file=sys.stderr, flush=True)


def _markdown(rows: Sequence[Row]) -> list[str]:
    columns = list(rows[0])
    words = [isinstance(rows[0][column], str) for column in columns]
    lines = [columns, ["---" if left else "---:" for left in words]]
    lines += [[_shown(row[column]) for column in columns] for row in rows]
    return [f"| {' | '.join(cells)} |" for cells in lines]


def _shown(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.1e}" if 0 < abs(value) < 1e-2 else f"{value:,.2f}"
    return f"{value:,}" if isinstance(value, int) else "-" if value is None else str(value)


def _columns(row: Row) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for column, value in row.items():
        if isinstance(value, Spread):
            flat |= {column: value.median, f"{column}, lowest": value.low, f"{column}, highest": value.high}
        else:
            flat[column] = value
    return flat


def _resident(field: str) -> int:
    """A line of /proc/self/status in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return 1024 * int(line.split()[1])
    raise RuntimeError(f"the kernel does not report {field}")
