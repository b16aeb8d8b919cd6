"""A training step as a run makes it: the method's own module, loss and optimiser, on random image features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F  # noqa: N812 -- torch's own convention
from common import autocast
from torch import Tensor
from torch.optim import SGD
from towers import random_context

from negprompt.backbones.openclip import OpenClipBackbone
from negprompt.cli.arguments import parse
from negprompt.cli.build import target
from negprompt.cli.compose import compositions, plain
from negprompt.methods.base import MethodSettings, PromptLearning
from negprompt.types import PromptBundle

Stage = Literal["coop", "negprompt"]
STAGES: tuple[Stage, ...] = ("coop", "negprompt")
BATCH = 32
NUM_TOKENS = 16
"""n of both stages for this backbone."""


def settings(stage: Stage, *overrides: str) -> MethodSettings:
    """Settings of a method for the paper's backbone, as the command line composes them."""
    (config,) = compositions("train", parse([f"method={stage}", "backbone=vit_b16_laion2b", *overrides]))
    return target(MethodSettings, plain(config)["method"], "method")  # type: ignore[type-abstract]


def module(stage: Stage, clip: OpenClipBackbone, names: Sequence[str], *overrides: str) -> PromptLearning:
    """A module ready to train, stage 2 around a random positive context; n = 16, and two negatives in stage 2."""
    method = settings(stage, *overrides)
    layout = method.layout()
    (positive,) = random_context(1, layout.num_context_tokens, clip.text_tower().width)
    metadata = {"class_token_position": layout.class_token_position, "full_stop": layout.full_stop}
    made = method.module(clip, names, seed=1, positive=PromptBundle(positive, None, metadata))
    return made.to(next(clip.parameters()).device)


def random_batch(num_classes: int, device: str) -> tuple[Tensor, Tensor]:
    """Unit image features (32, 512) and labels."""
    generator = torch.Generator().manual_seed(3)
    features = F.normalize(torch.randn(BATCH, 512, generator=generator), dim=-1)
    return features.to(device), torch.randint(num_classes, (BATCH,), generator=generator).to(device)


class TrainingStep:
    """Forward, loss, backward, SGD step; the gradient is freed as Lightning frees it.

    Args:
        learner: from `module`.
        num_classes: of its names.
        precision: fp32 or bf16.
    """

    def __init__(self, learner: PromptLearning, num_classes: int, precision: str) -> None:
        self._learner = learner
        self._precision = precision
        self._batch = random_batch(num_classes, learner.device.type)
        self._sgd = SGD([parameter for parameter in learner.parameters() if parameter.requires_grad], lr=0.002)

    def __call__(self) -> None:
        """Run it."""
        with autocast(self._learner.device.type, self._precision):
            loss, _ = self._learner.loss(*self._batch)
        self._sgd.zero_grad()
        loss.backward()
        self._sgd.step()
