"""Wall time of the whole ImageNet-1k job on one GPU, extrapolated from some steps of each stage, and its floor.

    python experiments/benchmarks/gpu_job.py --device cuda --precision bf16

The job: 500 steps x 100 epochs of stage 1 and 500 x 10 of stage 2, batches of 32 stored features, ViT-B/16. The steps
are those of a run: the method's module in Lightning's trainer. The floor is the arithmetic of the steps at the rate
that a large product of matrices reaches on the same chip.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import common
import lightning
import torch
import towers
import training
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torch.utils.flop_counter import FlopCounterMode
from training import STAGES, Stage, TrainingStep

from negprompt.types import Batch

PICTURES = 16_000
STEPS_OF_JOB = {"coop": 500 * 100, "negprompt": 500 * 10}
WARM_UP = 20
PRECISION = {"fp32": "32-true", "bf16": "bf16-mixed"}
MATRIX = {"cpu": 2048, "cuda": 8192}
PRODUCTS = 10


class Cost(NamedTuple):
    """Of one step: seconds, and the floating-point operations that it needs."""

    seconds: common.Spread
    operations: int


def arguments() -> argparse.Namespace:
    parser = common.parser(__doc__)
    parser.add_argument("--steps", type=int, default=40, help="measured steps a round")
    parser.add_argument("--names", type=int, default=len(towers.NAMES))
    parser.add_argument("--layers", type=int, help="of the text tower, where it shall have fewer")
    return common.checked(parser)


def main() -> None:
    """Measure both stages and write the table."""
    options = arguments()
    rate = product_rate(options)
    costs = {stage: cost(stage, options) for stage in STAGES}
    rows = [row(stage, costs[stage], rate) for stage in STAGES]
    common.write("gpu_job", "The whole ImageNet-1k job", [*rows, total(rows)], notes(rate, options), options)


class RandomFeatures(Dataset[Batch]):
    """As many stored features as the few-shot set has pictures."""

    def __init__(self, num_classes: int) -> None:
        generator = torch.Generator().manual_seed(3)
        self._features = torch.randn(PICTURES, 512, generator=generator)
        self._labels = torch.randint(num_classes, (PICTURES,), generator=generator)

    def __len__(self) -> int:
        return PICTURES

    def __getitems__(self, rows: Sequence[int]) -> Batch:
        """A whole batch at once."""
        index = torch.tensor(rows)
        return {"image_features": self._features[index], "label": self._labels[index], "index": index}


class Clock(lightning.Callback):
    """Seconds a step, one value for each round of steps after the warm-up.

    Args:
        steps: in a round.
        device: waited for at the end of each round.
    """

    def __init__(self, steps: int, device: str) -> None:
        self.seconds: list[float] = []
        self._steps = steps
        self._device = device
        self._start = 0.0

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: object,
        batch: Batch,
        batch_idx: int,
    ) -> None:
        """Read the clock after the last step of a round."""
        del trainer, pl_module, outputs, batch
        done = batch_idx + 1 - WARM_UP
        if done < 0 or done % self._steps:
            return
        common.synchronise(self._device)
        now = time.perf_counter()
        if done > 0:
            self.seconds.append((now - self._start) / self._steps)
        self._start = now


def cost(stage: Stage, options: argparse.Namespace) -> Cost:
    """Train for some steps; the operations are counted in one step more."""
    common.progress(stage)
    names = towers.NAMES[: options.names]
    learner = training.module(stage, towers.backbone(layers=options.layers, device=options.device), names)
    clock = Clock(options.steps, options.device)
    trainer = lightning.Trainer(
        accelerator="gpu" if options.device == "cuda" else "cpu",
        devices=1,
        precision=PRECISION[options.precision],  # type: ignore[arg-type]
        max_epochs=1,
        limit_train_batches=WARM_UP + options.rounds * options.steps,
        callbacks=[clock],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        logger=False,
    )
    data = RandomFeatures(len(names))
    trainer.fit(learner, DataLoader(data, batch_size=training.BATCH, shuffle=True, collate_fn=same))
    return Cost(common.spread(clock.seconds), operations(learner.to(options.device), len(names), options))


def same(batch: Batch) -> Batch:
    """The data set makes whole batches."""
    return batch


def operations(learner: training.PromptLearning, num_classes: int, options: argparse.Namespace) -> int:
    """Floating-point operations of one step, as PyTorch counts them (products of matrices and attention)."""
    step = TrainingStep(learner, num_classes, options.precision)
    with FlopCounterMode(display=False) as counter:
        step()
    return int(counter.get_total_flops())


def product_rate(options: argparse.Namespace) -> float:
    """Operations a second of a large product of matrices in this precision."""
    size = MATRIX[options.device]
    matrix = torch.full((size, size), 1 / size, device=options.device, dtype=dtype(options))

    def products() -> Tensor:
        result = matrix
        for _ in range(PRODUCTS):
            result = result @ matrix
        return result

    seconds = common.in_turns({"products": products}, options.rounds, options.device)["products"]
    return PRODUCTS * 2 * size**3 / common.spread(seconds).median


def dtype(options: argparse.Namespace) -> torch.dtype:
    """Type of the numbers that are multiplied."""
    return torch.bfloat16 if options.precision == "bf16" else torch.float32


def row(stage: Stage, found: Cost, rate: float) -> dict[str, object]:
    """One stage of the table."""
    steps = STEPS_OF_JOB[stage]
    minutes = common.Spread(*(steps * value / 60 for value in found.seconds))
    floor = steps * found.operations / rate / 60
    return {
        "stage": stage,
        "steps of the job": steps,
        "GFLOP a step": found.operations / 1e9,
        "minutes, extrapolated": minutes,
        "minutes, floor": floor,
        "time / floor": minutes.median / floor,
    }


def total(rows: Sequence[dict[str, Any]]) -> dict[str, object]:
    """Both stages together."""
    stages = [one["minutes, extrapolated"] for one in rows]
    minutes = common.Spread(*(sum(values) for values in zip(*stages, strict=True)))
    floor = sum(one["minutes, floor"] for one in rows)
    return {
        "stage": "both",
        "steps of the job": sum(one["steps of the job"] for one in rows),
        "GFLOP a step": None,
        "minutes, extrapolated": minutes,
        "minutes, floor": floor,
        "time / floor": minutes.median / floor,
    }


def notes(rate: float, options: argparse.Namespace) -> list[str]:
    """What stands below the table."""
    return [
        f"EXTRAPOLATED: {options.rounds} rounds of {options.steps} steps were run in each stage, after {WARM_UP} steps "
        "of warm-up; the job's time is its number of steps times the median (lowest-highest) time of a step",
        f"{towers.MODEL} with random weights, {options.names} ImageNet names, n = {training.NUM_TOKENS}, two "
        f"negatives, {PICTURES:,} random features in batches of {training.BATCH}, text path and chunks chosen by "
        "themselves, Lightning's trainer without logger, checkpoints and evaluation; image features are not computed",
        f"Floor: the operations of the steps (as PyTorch counts them) at {rate / 1e12:,.1f} TFLOP/s, the rate of "
        f"products of {MATRIX[options.device]:,} x {MATRIX[options.device]:,} matrices in {options.precision} here",
    ]


if __name__ == "__main__":
    main()
