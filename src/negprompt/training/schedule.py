"""Learning rates as pure functions of epoch and step."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field

from negprompt.settings import Settings

_OFFICIAL_PERIOD = 50
"""T_max of the released NegPrompt code, counted in scheduler calls: one a step and one more an epoch."""


class OptimizerSettings(Settings):
    """SGD on the context vectors (CoOp's recipe; the released NegPrompt code uses `schedule=official_code`).

    `epochs` passes over the few-shot pictures, more where `min_steps` asks for it; the learning rate warms up for
    `warmup_epochs` at a constant `warmup_lr`.
    """

    lr: Annotated[float, Field(gt=0)]
    epochs: Annotated[int, Field(ge=1)]
    batch_size: Annotated[int, Field(ge=1)] = 32
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    weight_decay: Annotated[float, Field(ge=0)] = 5e-4
    schedule: Literal["cosine_epochs", "official_code"] = "cosine_epochs"
    warmup_epochs: Annotated[int, Field(ge=0)] = 1
    warmup_lr: Annotated[float, Field(gt=0)] = 1e-5
    min_steps: Annotated[int, Field(ge=0)] = 0

    def num_epochs(self, batches_per_epoch: int) -> int:
        """Epochs to train: `epochs`, or as many as `min_steps` needs."""
        return max(self.epochs, -(-self.min_steps // batches_per_epoch))


def cosine_epochs(epoch: int, num_epochs: int, optimizer: OptimizerSettings) -> float:
    """Learning rate of an epoch: constant warm-up, then a cosine whose phase does not count the warm-up (Dassl).

    Args:
        epoch: 0-based.
        num_epochs: E, the period of the cosine.
        optimizer: base learning rate and warm-up.

    Example:
        >>> recipe = OptimizerSettings(lr=0.002, epochs=100)
        >>> [round(cosine_epochs(epoch, 100, recipe), 8) for epoch in (0, 1, 51, 99)]
        [1e-05, 0.002, 0.001, 1.97e-06]
    """
    if epoch < optimizer.warmup_epochs:
        return optimizer.warmup_lr
    phase = (epoch - optimizer.warmup_epochs) / num_epochs
    return 0.5 * optimizer.lr * (1 + math.cos(math.pi * phase))


def official_code(step: int, batches_per_epoch: float, optimizer: OptimizerSettings) -> float:
    """Learning rate of a step in the released code: a cosine over 50 scheduler calls that swings back up again.

    The scheduler is called after every step and once more after every epoch.
    """
    calls = step + step // batches_per_epoch
    return 0.5 * optimizer.lr * (1 + math.cos(math.pi * calls / _OFFICIAL_PERIOD))


class AdamWSettings(Settings):
    """AdamW with a cosine to 0 over all steps and no warm-up, for a whole tower (CLIPN).

    `epochs` passes over the pairs, or `steps` where they are set; weight decay leaves out what has fewer than two axes.
    """

    lr: Annotated[float, Field(gt=0)] = 3e-4
    beta1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    beta2: Annotated[float, Field(ge=0, lt=1)] = 0.98
    eps: Annotated[float, Field(gt=0)] = 1e-6
    weight_decay: Annotated[float, Field(ge=0)] = 0.2
    epochs: Annotated[int, Field(ge=1)] = 10
    steps: Annotated[int, Field(ge=1)] | None = None
    batch_size: Annotated[int, Field(ge=2)] = 2048

    def num_steps(self, steps_per_epoch: int) -> int:
        """Steps to train."""
        return self.epochs * steps_per_epoch if self.steps is None else self.steps


def cosine_steps(step: int, num_steps: int) -> float:
    """Share of the learning rate at a step: a cosine from 1 down to 0.

    Example:
        >>> [round(cosine_steps(step, 4), 4) for step in range(5)]
        [1.0, 0.8536, 0.5, 0.1464, 0.0]
    """
    return 0.5 * (1 + math.cos(math.pi * min(1.0, step / num_steps)))
