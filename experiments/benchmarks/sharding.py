"""Class sharding: one text step that two processes share, against the same step in one of them.

    python experiments/benchmarks/sharding.py

Both run in turn within one job of two processes of one thread each (gloo): first they do the step together, then the
first does it alone while the second waits. Cores can be shared with others, so the job also measures what two
independent processes get out of this machine: that is the most that sharing can bring.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Callable

import common
import torch
import torch.distributed as dist
import towers
from torch import Tensor

from negprompt.backbones.openclip import OpenClipBackbone
from negprompt.backbones.text import encode_prompts
from negprompt.prompts.encoder import PromptEncoder
from negprompt.prompts.template import PromptLayout
from negprompt.ranks import barrier, join, rank

PROCESSES = 2
TOKENS = 16
MATRIX, PRODUCTS = 1024, 30
"""The independent work: products of square matrices."""


def arguments() -> argparse.Namespace:
    parser = common.parser(__doc__)
    parser.add_argument("--names", type=int, default=300)
    options = common.checked(parser)
    if options.device != "cpu":
        print("Class sharding is measured on CPUs here: leave --device out.", file=sys.stderr)
        sys.exit(common.NO_CUDA)
    return options


def main() -> None:
    """Start the job, or be one of its processes."""
    options = arguments()
    if "WORLD_SIZE" not in os.environ:
        sys.exit(start())
    torch.set_num_threads(1)
    join(PROCESSES, on_gpu=False)
    seconds, gradients = measure(options)
    if rank() == 0:
        common.write("sharding", "Classes shared by two processes", rows(seconds, gradients), notes(options), options)


def start() -> int:
    """Run this script in two processes; returns the exit code."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={PROCESSES}"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run([*launcher, *sys.argv], env=environment, check=False).returncode


def measure(options: argparse.Namespace) -> tuple[dict[str, list[float]], dict[str, Tensor]]:
    """Seconds of every round as the first process sees them, and the gradients of both ways."""
    clip = towers.backbone("shared")
    names = towers.spaced_by_length(towers.NAMES, options.names, clip)
    steps = {"together": shared_step(clip, names), "alone": whole_step(clip, names)}
    actions = {
        "together": meeting(steps["together"]),
        "alone": meeting(steps["alone"], everyone=False),
        "products, both": meeting(products),
        "products, alone": meeting(products, everyone=False),
    }
    seconds = common.in_turns(actions, options.rounds, "cpu")
    gradients = {name: step() for name, step in steps.items()}
    barrier()
    return seconds, gradients


def meeting(work: Callable[[], object], *, everyone: bool = True) -> Callable[[], None]:
    """Work of both processes, or of the first one, between two meetings of both."""

    def run() -> None:
        barrier()
        if everyone or rank() == 0:
            work()
        barrier()

    return run


def shared_step(clip: OpenClipBackbone, names: tuple[str, ...]) -> Callable[[], Tensor]:
    """Each process encodes its share; the gradient is averaged over both, as in training."""
    encoder = PromptEncoder(clip, names, PromptLayout(TOKENS))
    return step(clip, names, lambda leaf: encoder.encode_negative(clip, leaf), averaged=True)


def whole_step(clip: OpenClipBackbone, names: tuple[str, ...]) -> Callable[[], Tensor]:
    """All names in this process."""
    found = towers.plan(clip, names, TOKENS, num_contexts=1)
    return step(clip, names, lambda leaf: encode_prompts(clip.text_tower(), found, leaf), averaged=False)


def step(
    clip: OpenClipBackbone, names: tuple[str, ...], encode: Callable[[Tensor], Tensor], *, averaged: bool
) -> Callable[[], Tensor]:
    """Forward and backward pass: returns the gradient of the context."""
    context = towers.random_context(1, TOKENS, clip.text_tower().width)
    weights = towers.linear_loss(len(names), 1, clip)

    def run() -> Tensor:
        leaf = context.clone().requires_grad_()
        (gradient,) = torch.autograd.grad((encode(leaf) * weights).sum(), leaf)
        if averaged:
            dist.all_reduce(gradient)
            gradient /= PROCESSES
        return gradient

    return run


def products() -> None:
    """Work that no other process knows of."""
    matrix = torch.full((MATRIX, MATRIX), 1 / MATRIX)
    for _ in range(PRODUCTS):
        matrix = matrix @ matrix


def rows(seconds: dict[str, list[float]], gradients: dict[str, Tensor]) -> list[dict[str, object]]:
    """The table: what sharing brings, and what two independent processes bring."""
    together = common.ratio(seconds["alone"], seconds["together"])
    ceiling = common.ratio(seconds["products, alone"], seconds["products, both"], PROCESSES)
    error = common.difference(gradients["alone"], gradients["together"])
    return [
        {"work": "the step, time alone / together", "ratio": together, "gradient difference": error},
        {"work": "independent products, twice the time alone / both at once", "ratio": ceiling}
        | {"gradient difference": None},
    ]


def notes(options: argparse.Namespace) -> list[str]:
    """What stands below the table."""
    return [
        f"{towers.MODEL} with random weights, {options.names} ImageNet names at even distances in the list by length, "
        f"n = {TOKENS}, one context, shared text path; {PROCESSES} processes of one thread each (gloo), and one thread "
        "where one of them does the step alone",
        f"Ratios: median (lowest-highest) of {options.rounds} rounds, all four kinds of work in turn in one job",
        "The second row is the work that two independent processes do at once over that of one in the same time: "
        f"{PROCESSES} where each has a core of its own",
        "Gradient difference: largest entry, relative to the largest entry of the step alone",
    ]


if __name__ == "__main__":
    main()
