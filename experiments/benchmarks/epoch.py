"""One epoch of stage 2 on stored image features with the shared text path, against pictures and 77 tokens every step.

    python experiments/benchmarks/epoch.py

Both are whole runs (`negprompt train`) on `icons` with `tiny_rn` in a temporary folder; what counts is the time of
their training phase. The views are the same, so both must learn the same prompts.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("GOMP_SPINCOUNT", "10000")  # as the command line does; read when torch is imported

import common
from torch import Tensor

from negprompt import api
from negprompt.cli.arguments import parse
from negprompt.cli.build import build_request
from negprompt.cli.compose import compositions, plain
from negprompt.cli.paths import options as choices
from negprompt.methods.negprompt import NegPromptSettings
from negprompt.prompts import bundle as bundles
from negprompt.prompts.context import initial_negative_context
from negprompt.request import Request

ACCELERATOR = {"cpu": "cpu", "cuda": "gpu"}
PRECISION = {"fp32": "32-true", "bf16": "bf16-mixed"}


BASELINE, STORED = "pictures, plain", "stored features, shared"


class Measured(NamedTuple):
    """Seconds it took to compute the training features once, and all runs of each variant, the dropped round first."""

    extraction: float
    outcomes: dict[str, list[Outcome]]


class Outcome(NamedTuple):
    """Seconds of each phase of a run, and the negative contexts where they started and ended."""

    seconds: dict[str, float]
    start: Tensor
    end: Tensor


def arguments() -> argparse.Namespace:
    return common.checked(common.parser(__doc__))


def main() -> None:
    """Measure all variants and write the table."""
    options = arguments()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["NEGPROMPT_FEATURES"] = str(Path(folder) / "features")
        measured = measure(Path(folder), options)
    common.write("epoch", "One epoch of stage 2", rows(measured.outcomes), notes(measured, options), options)


def variants() -> dict[str, tuple[str, ...]]:
    """What is compared, as settings; the baseline comes first."""
    stored = next(name for name in ("store", "memory") if name in choices("features"))
    once = (f"features={stored}", "features.views=1")
    return {
        BASELINE: ("features=none", "text_path=plain"),
        "pictures, shared": ("features=none", "text_path=shared"),
        "stored features, cropped": (*once, "text_path=cropped"),
        STORED: (*once, "text_path=shared"),
    }


def measure(root: Path, options: argparse.Namespace) -> Measured:
    """Runs of all variants in turn around one stage 1, which is also the one that computes the features."""
    stage1 = request(("method=coop", *variants()[STORED]), root / "stage1", options)
    positive = api.train(stage1).folder
    outcomes: dict[str, list[Outcome]] = {name: [] for name in variants()}
    for turn in range(options.rounds + 1):
        for name, overrides in variants().items():
            common.progress(f"round {turn}, {name}")
            words = ("method=negprompt", f"method.positive_prompts={positive}", *overrides)
            outcomes[name].append(outcome(request(words, root / str(turn) / name.replace(", ", "_"), options)))
    return Measured(phases(positive)["image_features"], outcomes)


def request(words: Sequence[str], runs_dir: Path, options: argparse.Namespace) -> Request:
    """A run of one epoch at full learning rate, scored on the smallest set of pictures."""
    fixed = (
        f"trainer.accelerator={ACCELERATOR[options.device]}",
        f"trainer.precision={PRECISION[options.precision]}",
        "trainer.progress_bar=false",
        "data=icons_val",
        "ood.sets=[near]",
        "method.optimizer.epochs=1",
        "method.optimizer.min_steps=0",
        "method.optimizer.warmup_epochs=0",
        f"paths.runs_dir={runs_dir}",
    )
    (config,) = compositions("train", parse([*fixed, *words]))
    return build_request(plain(config))


def outcome(asked: Request) -> Outcome:
    """Run it and read what it left."""
    folder = api.train(asked).folder
    learned = bundles.load(folder)
    method = asked.method
    if not isinstance(method, NegPromptSettings) or learned.negative is None:
        raise TypeError("only stage 2 has negatives")
    start = initial_negative_context(
        learned.positive, method.num_negatives, method.negative_init, method.negative_noise, asked.seed
    )
    return Outcome(phases(folder), start, learned.negative)


def phases(folder: Path) -> dict[str, float]:
    """Seconds of each phase of a run."""
    seconds: dict[str, float] = json.loads((folder / "provenance.json").read_text())["seconds"]
    return seconds


def rows(outcomes: Mapping[str, Sequence[Outcome]]) -> list[dict[str, object]]:
    """One row a variant; the first round counts for the prompts but not for the time."""
    training = {name: [one.seconds["training"] for one in runs[1:]] for name, runs in outcomes.items()}
    baseline = outcomes[BASELINE][0]
    moved = float((baseline.end - baseline.start).abs().max())
    return [
        {
            "image features, text path": name,
            "time of the baseline / time": common.ratio(training[BASELINE], training[name]),
            f"time / time of {STORED}": common.ratio(training[name], training[STORED]),
            "largest difference of a prompt / largest movement": float((runs[0].end - baseline.end).abs().max())
            / moved,
        }
        for name, runs in outcomes.items()
    ]


def notes(measured: Measured, options: argparse.Namespace) -> list[str]:
    """What stands below the table."""
    outcomes = measured.outcomes
    epoch = common.spread([one.seconds["training"] for one in outcomes[BASELINE][1:]]).median
    again = max(float((one.end - runs[0].end).abs().max()) for runs in outcomes.values() for one in runs)
    return [
        "`negprompt train method=negprompt backbone=tiny_rn data=icons_val`: 8 pictures a class, one epoch without "
        "warm-up, one view; the time is that of the phase `training` in provenance.json",
        f"Baseline: {BASELINE} = `features=none text_path=plain`: pictures decoded, augmented and encoded at every "
        "step, prompts through the model's own `encode_text` on 77 tokens",
        f"Ratios: median (lowest-highest) of {options.rounds} rounds, all variants in turn in one process; threads "
        "wait as in the command line (GOMP_SPINCOUNT=10000)",
        "Not in the time of stored features: computing them, once for all runs and epochs, which takes "
        f"{measured.extraction / epoch:.2f} times as long as an epoch of the baseline",
        "Prompts: negative contexts after the epoch, against those of the baseline, relative to how far the baseline's "
        f"moved; the rounds of one variant differ by at most {again:.1e} (0 = the same bits)",
    ]


if __name__ == "__main__":
    main()
