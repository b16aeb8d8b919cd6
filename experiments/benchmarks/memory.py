"""Peak memory of one training step against the number of classes, with chunks of classes and without.

    python experiments/benchmarks/memory.py [--device cuda --precision bf16]

On a CPU the text tower has the width of ViT-B/16 but two layers, so that 21,000 classes take a minute and not ten: what
grows with the number of classes outside of the chunks does not depend on the depth. On a GPU it has all twelve.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import common
import towers
import training
from training import STAGES, Stage, TrainingStep

from negprompt.backbones.chunks import TextChunk

SIZES = (500, 1000, 2000, 5000, 10_000, 21_000)
BASE = 2000
CHUNK = 250
CONTEXTS = {"coop": 1, "negprompt": 2}
VECTOR = 512 * 4
"""Bytes of one feature vector in float32."""
GOAL = 3
WARM_UP_NAMES = 8


class Cell(NamedTuple):
    """One measurement."""

    stage: Stage
    classes: int
    chunk: TextChunk
    contexts: int

    @property
    def prompts(self) -> int:
        """Prompts that are learned."""
        return self.classes * self.contexts


class Peak(NamedTuple):
    """Peak bytes of a step, and the tokens of its largest chunk."""

    size: int
    largest_chunk: int


Peaks = Mapping[Cell, Peak | None]


def arguments() -> argparse.Namespace:
    parser = common.parser(__doc__, timed=False)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="numbers of classes")
    parser.add_argument("--layers", type=int, help="of the text tower; 2 on a CPU, 12 on a GPU")
    parser.add_argument("--none-up-to", type=int, help="classes without chunks; 5,000 on a CPU, all on a GPU")
    options = common.checked(parser)
    on_gpu = options.device == "cuda"
    options.layers = options.layers or (12 if on_gpu else 2)
    options.none_up_to = options.none_up_to or (max(options.sizes) if on_gpu else 5000)
    return options


def main() -> None:
    """Measure all cells and write the table."""
    options = arguments()
    peaks: dict[Cell, Peak | None] = {}
    for cell in cells(options):
        common.progress(str(cell))
        peaks[cell] = common.in_fresh_process(measure, cell, options)
    rows = [row(cell, peaks) for cell in peaks]
    common.write("memory", "Peak memory of one training step", rows, notes(peaks, options), options)


def cells(options: argparse.Namespace) -> list[Cell]:
    """What is measured, in the order of the table."""
    chunks: tuple[TextChunk, ...] = (CHUNK, "none")
    return [
        Cell(stage, classes, chunk, CONTEXTS[stage])
        for stage in STAGES
        for chunk in chunks
        for classes in options.sizes
        if chunk != "none" or classes <= options.none_up_to
    ]


def measure(cell: Cell, options: argparse.Namespace) -> Peak:
    """One step of a cell."""
    clip = towers.backbone("shared", cell.chunk, options.layers, options.device)
    names = towers.many_names(cell.classes)

    def step(some: Sequence[str]) -> TrainingStep:
        learner = training.module(cell.stage, clip, some, f"method.num_negatives={cell.contexts}")
        return TrainingStep(learner, len(some), options.precision)

    peak = common.peak_bytes(step(names), step(names[:WARM_UP_NAMES]), options.device)
    return Peak(peak, towers.largest_chunk(clip, names, training.NUM_TOKENS) * cell.contexts)


def row(cell: Cell, peaks: Peaks) -> dict[str, object]:
    """One row of the table."""
    peak = peaks[cell]
    return {
        "stage": cell.stage,
        "chunk": str(cell.chunk),
        "classes": cell.classes,
        "prompts": cell.prompts,
        "tokens of the largest chunk": peak and peak.largest_chunk,
        "MiB": peak and common.mib(peak.size),
        "growth, vectors a prompt": growth(cell, peaks),
    }


def growth(cell: Cell, peaks: Peaks) -> float | None:
    """Growth of the peak from 2,000 classes to this size, per prompt, in feature vectors."""
    base = cell._replace(classes=BASE)
    now, before = peaks[cell], peaks.get(base)
    if now is None or before is None or cell.classes <= BASE:
        return None
    return (now.size - before.size) / (cell.prompts - base.prompts) / VECTOR


def notes(peaks: Peaks, options: argparse.Namespace) -> list[str]:
    """What stands below the table."""
    last = {stage: Cell(stage, max(options.sizes), CHUNK, CONTEXTS[stage]) for stage in STAGES}
    found = {stage: growth(cell, peaks) for stage, cell in last.items()}
    verdicts = ", ".join(f"{stage} {value:.2f}" for stage, value in found.items() if value is not None)
    return [
        f"One step of {training.BATCH} pictures: forward, loss, backward, SGD, with the shared text path; stage 1 is "
        f"`method=coop`, stage 2 `method=negprompt` with {CONTEXTS['negprompt']} negatives, and the features of its "
        "positives, which are made once and kept, count too",
        f"{towers.MODEL}'s text tower with {options.layers} layers and random weights, n = {training.NUM_TOKENS}; the "
        "names are the 1,000 of ImageNet over and over, so that their lengths are ImageNet's at every size",
        f"{common.memory_method(options.device)}; each cell in a fresh process, after a step of {WARM_UP_NAMES} names",
        f"Growth: (peak - peak at {BASE:,} classes) / (prompts - those) in feature vectors of {VECTOR:,} bytes. With "
        f"chunks, to {max(options.sizes):,} classes: {verdicts or 'not measured'} (goal: at most {GOAL})",
        "A part of the growth is the largest chunk, which has longer names the more there are to choose from",
    ]


if __name__ == "__main__":
    main()
