"""Time and memory of a step against the number of classes and of negatives: a table, and the figure of it.

    python experiments/benchmarks/scaling.py

Time is measured here, on the whole text tower; memory against the number of classes is what `memory.py` wrote, memory
against the number of negatives is measured here in the same way.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import common
import memory
import towers
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator
from memory import CHUNK, Cell
from towers import NAMES, TextStep

FIGURE = Path(__file__).parents[2] / "docs" / "benchmarks" / "scaling.png"
CLASSES = (125, 250, 500, 1000)
NEGATIVES = (1, 2, 4, 8)
PLAIN_NAMES = 16
MEMORY_CLASSES = 500
TOKENS = 16
BLUE, VERMILION = "#0072B2", "#D55E00"
"""Of Okabe and Ito's palette, which stay apart for all common kinds of colour vision; in grey the markers do."""


class Size(NamedTuple):
    """A step of the shared path."""

    classes: int
    negatives: int


Times = Mapping[Size, common.Spread]
Peaks = Mapping[Cell, int | None]


class Curve(NamedTuple):
    """A line of a panel."""

    label: str
    x: Sequence[float]
    y: Sequence[float]
    colour: str
    style: str


def arguments() -> argparse.Namespace:
    parser = common.parser(__doc__)
    parser.add_argument("--classes", type=int, nargs="+", default=CLASSES)
    parser.add_argument("--memory-classes", type=int, default=MEMORY_CLASSES, help="classes of memory by negatives")
    parser.add_argument("--layers", type=int, default=2, help="of the tower of memory by negatives, as in memory.py")
    parser.add_argument("--figure", type=Path, default=FIGURE)
    options = common.checked(parser)
    if not common.read("memory", options):
        sys.exit(f"{options.output / 'memory.csv'} is not there: run memory.py first.")
    return options


def main() -> None:
    """Measure, write the table and draw the figure."""
    options = arguments()
    times, plain = time(options)
    peaks = {cell: measured(cell, options) for cell in cells(options)}
    common.write("scaling", "Cost against classes and negatives", rows(times, peaks), notes(plain, options), options)
    draw(times, plain, peaks, options)


def sizes(options: argparse.Namespace) -> list[Size]:
    """Steps that are timed: by classes with one prompt each, by negatives with the fewest classes."""
    by_negatives = [Size(options.classes[0], count) for count in NEGATIVES[1:]]
    return [Size(count, 1) for count in options.classes] + by_negatives


def time(options: argparse.Namespace) -> tuple[Times, float]:
    """Time of each size over that of the smallest, and the same for one prompt of the plain path."""
    common.progress("time")
    clip = towers.backbone("shared", device=options.device)
    steps = {str(size): step(size, clip, options) for size in sizes(options)}
    steps["plain"] = step(Size(PLAIN_NAMES, 1), towers.with_path(clip, "plain"), options)
    seconds = common.in_turns(steps, options.rounds, options.device)
    smallest = seconds[str(sizes(options)[0])]
    times = {size: common.ratio(seconds[str(size)], smallest) for size in sizes(options)}
    return times, common.ratio(seconds["plain"], smallest).median / PLAIN_NAMES


def step(size: Size, clip: towers.OpenClipBackbone, options: argparse.Namespace) -> TextStep:
    """Forward and backward pass of names at even distances in the list by length."""
    names = towers.spaced_by_length(NAMES, size.classes, clip)
    return TextStep(clip, names, TOKENS, size.negatives, options.precision)


def cells(options: argparse.Namespace) -> list[Cell]:
    """Memory of stage 2 by negatives."""
    return [Cell("negprompt", options.memory_classes, chunk, count) for chunk in (CHUNK, "none") for count in NEGATIVES]


def measured(cell: Cell, options: argparse.Namespace) -> int | None:
    """MiB of one cell, None where it did not fit."""
    common.progress(str(cell))
    peak = common.in_fresh_process(memory.measure, cell, options)
    return peak and common.mib(peak.size)


def rows(times: Times, peaks: Peaks) -> list[dict[str, object]]:
    """Time by classes and negatives, then memory by negatives."""
    timed = [row(f"time, {towers.MODEL}", *size, "none", value, None) for size, value in times.items()]
    return timed + [
        row("memory, stage 2", cell.classes, cell.contexts, str(cell.chunk), None, size) for cell, size in peaks.items()
    ]


def row(
    what: str, classes: int, prompts: int, chunk: str, time: common.Spread | None, size: int | None
) -> dict[str, object]:
    """One row of the table."""
    columns = {"step": what, "classes": classes, "prompts a class": prompts, "chunk": chunk}
    return {**columns, "time, 1 = first row": time, "MiB": size}


def notes(plain: float, options: argparse.Namespace) -> list[str]:
    """What stands below the table."""
    return [
        f"Time: text step of {towers.MODEL} with random weights, shared path, n = {TOKENS}, ImageNet names at even "
        f"distances in the list by length; median (lowest-highest) of {options.rounds} rounds, all sizes in turn in "
        "one process",
        f"One prompt of 77 tokens (plain path, from {PLAIN_NAMES} of them in the same rounds) takes {plain:.3f} of the "
        "first row's time",
        f"Memory by negatives: one training step of stage 2, text tower with {options.layers} layers; memory by "
        "classes is in `memory.csv`",
        common.memory_method(options.device),
    ]


def draw(times: Times, plain: float, peaks: Peaks, options: argparse.Namespace) -> None:
    """Four panels: time above, memory below; classes left, negatives right."""
    figure = Figure(figsize=(7.0, 6.4), dpi=130, layout="constrained")
    panels = figure.subplots(2, 2)
    fewest = options.classes[0]
    by_classes = [size for size in times if size.negatives == 1]
    by_negatives = [size for size in times if size.classes == fewest]
    curves(panels[0, 0], "classes", f"time of a text step, 1 = {fewest} classes", timed(by_classes, times, plain))
    curves(panels[0, 1], "negatives a class", f"the same, {fewest} classes", timed(by_negatives, times, plain))
    curves(panels[1, 0], "classes", "memory of a training step, MiB", by_number_of_classes(options))
    title = f"the same, {options.memory_classes} classes, MiB"
    curves(panels[1, 1], "negatives a class", title, by_number_of_negatives(peaks))
    options.figure.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(options.figure, pil_kwargs={"optimize": True})


def timed(sizes: Sequence[Size], times: Times, plain: float) -> list[Curve]:
    """The shared path as measured, and the plain one, which costs every prompt the same."""
    numbers = [size.negatives if sizes[-1].negatives > 1 else size.classes for size in sizes]
    shared = [times[size].median for size in sizes]
    long = [plain * size.classes * size.negatives for size in sizes]
    return [
        Curve("77 tokens (plain), from its time a prompt", numbers, long, VERMILION, "s--"),
        Curve("shared prefix, measured", numbers, shared, BLUE, "o-"),
    ]


def by_number_of_classes(options: argparse.Namespace) -> list[Curve]:
    """What memory.py measured."""
    table = common.read("memory", options)
    found = []
    for stage, colour, marker in (("negprompt", VERMILION, "s"), ("coop", BLUE, "o")):
        for chunk, line in (("none", "--"), (str(CHUNK), "-")):
            some = [one for one in table if (one["stage"], one["chunk"]) == (stage, chunk) and one["MiB"]]
            label = f"stage {1 if stage == 'coop' else 2}, {chunk_label(chunk)}"
            values = [float(one["MiB"]) for one in some]
            found.append(Curve(label, [float(one["classes"]) for one in some], values, colour, marker + line))
    return found


def by_number_of_negatives(peaks: Peaks) -> list[Curve]:
    """What was measured here."""
    found = []
    for chunk, line in (("none", "--"), (CHUNK, "-")):
        some = {cell.contexts: size for cell, size in peaks.items() if cell.chunk == chunk and size is not None}
        label = f"stage 2, {chunk_label(str(chunk))}"
        found.append(Curve(label, list(some), list(some.values()), VERMILION, "s" + line))
    return found


def chunk_label(chunk: str) -> str:
    """For a legend."""
    return "all classes at once" if chunk == "none" else f"chunks of {chunk}"


def curves(panel: Axes, x_label: str, y_label: str, lines: Sequence[Curve]) -> None:
    """One panel with logarithmic axes that say plain numbers."""
    for line in lines:
        panel.plot(line.x, line.y, line.style, color=line.colour, label=line.label, markersize=4, linewidth=1.4)
    panel.set_xscale("log")
    panel.set_yscale("log")
    panel.xaxis.set_major_locator(FixedLocator(sorted({number for line in lines for number in line.x})))
    panel.xaxis.set_minor_locator(NullLocator())
    panel.xaxis.set_major_formatter(FuncFormatter(lambda number, _: f"{number:,.0f}"))
    panel.yaxis.set_major_formatter(FuncFormatter(lambda number, _: f"{number:,g}"))
    panel.yaxis.set_minor_formatter(NullFormatter())
    panel.tick_params(labelsize=7.5)
    panel.set_xlabel(x_label, fontsize=9)
    panel.set_ylabel(y_label, fontsize=9)
    panel.grid(color="#DDDDDD", linewidth=0.6)
    panel.spines[["top", "right"]].set_visible(False)
    panel.legend(loc="lower left", bbox_to_anchor=(0, 1), fontsize=8, frameon=False)


if __name__ == "__main__":
    main()
