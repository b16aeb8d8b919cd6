"""Stage 2, NegPrompt (Li et al., CVPR 2024): negative prompts for every class, around frozen positive ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from negprompt.backbones.base import FrozenBackbone
from negprompt.errors import ConfigError, PromptMismatchError
from negprompt.methods.base import Contexts, MethodSettings, PromptLearning
from negprompt.methods.coop import CoOpSettings
from negprompt.methods.negatives import diagnostics, warn_of_collapse
from negprompt.objectives.negprompt import negprompt_terms, total_loss
from negprompt.objectives.products import products
from negprompt.prompts import bundle as bundles
from negprompt.prompts.context import NegativeInit, initial_negative_context
from negprompt.prompts.similarity import similarity
from negprompt.training.schedule import OptimizerSettings
from negprompt.types import PromptBundle, Similarity


class NegativeSettings(MethodSettings):
    """Settings of methods that learn negative prompts.

    `nis`, `npd`, `nnd` and their weights: the terms of Eq. 7 in the paper's form or the released code's.
    `negative_init` and `negative_noise`: where the negatives start (`prompts.context.initial_negative_context`).
    """

    optimizer: OptimizerSettings
    num_negatives: Annotated[int, Field(ge=1)] = 2
    negative_init: NegativeInit = "positive_uniform"
    negative_noise: Annotated[float, Field(gt=0)] = 1e-5
    nis: Literal["negatives_uniform", "joint_uniform", "multilabel_margin"] = "negatives_uniform"
    npd: Literal["attract", "repel"] = "attract"
    nnd: Literal["pairwise", "mean_norm"] = "pairwise"
    npd_weight: Annotated[float, Field(ge=0)] = 0.1
    nnd_weight: Annotated[float, Field(ge=0)] = 0.05

    @property
    def provides(self) -> frozenset[str]:
        """Negative prompts."""
        return frozenset({"negative"})


class NegPromptSettings(NegativeSettings):
    """Settings of stage 2; `positive` are those of stage 1, `positive_prompts` names a finished one to start from."""

    positive: CoOpSettings
    positive_prompts: Annotated[str | None, Field(exclude=True)] = None

    @model_validator(mode="after")
    def _same_layout(self) -> NegPromptSettings:
        if self.layout() != self.positive.layout() or self.class_specific != self.positive.class_specific:
            msg = (
                "Both stages share one prompt layout: set method.num_context_tokens, class_token_position, full_stop "
                "and class_specific, and leave those of method.positive to follow."
            )
            raise ConfigError(msg)
        return self

    def check(self) -> None:
        """Refuse named prompts that are not there, or have another layout."""
        if self.positive_prompts is not None:
            self._refuse_other_layout(bundles.load(self.positive_prompts))

    def _refuse_other_layout(self, positive: PromptBundle) -> None:
        if bundles.layout(positive) != self.layout() or bundles.is_class_specific(positive) != self.class_specific:
            theirs = (*bundles.layout(positive), bundles.is_class_specific(positive))
            names = ("num_context_tokens", "class_token_position", "full_stop", "class_specific")
            fix = " ".join(f"method.{name}={str(value).lower()}" for name, value in zip(names, theirs, strict=True))
            msg = f"The positive prompts have another layout than this run asks for: set {fix}."
            raise PromptMismatchError(msg)

    def positive_stage(self) -> CoOpSettings:
        """CoOp."""
        return self.positive

    def module(
        self, backbone: FrozenBackbone, class_names: Sequence[str], seed: int, positive: PromptBundle | None
    ) -> NegPrompt:
        """A NegPrompt module with fresh negatives around the given positive context."""
        if positive is None:
            msg = "method=negprompt needs the prompts of stage 1: set method.positive_prompts."
            raise PromptMismatchError(msg)
        self._refuse_other_layout(positive)
        if self.class_specific and positive.metadata["train_class_names"] != list(class_names):
            msg = (
                f"The positive prompts belong to {len(positive.positive)} classes, one context each, and not to the "
                f"{len(class_names)} of this run: train stage 1 on these (leave method.positive_prompts out)."
            )
            raise PromptMismatchError(msg)
        negative = initial_negative_context(
            positive.positive, self.num_negatives, self.negative_init, self.negative_noise, seed
        )
        return NegPrompt(backbone, class_names, self, positive.positive, negative)


class NegPrompt(PromptLearning):
    """Learns P negative contexts; the positive one is a buffer and never changes.

    Args:
        backbone: frozen CLIP.
        class_names: training classes in label order.
        settings: loss forms, weights and training recipe.
        positive: context of stage 1, (n, d) or (K, n, d).
        negative: start value, (P, n, d) or (K, P, n, d).
    """

    positive_context: Tensor

    def __init__(
        self,
        backbone: FrozenBackbone,
        class_names: Sequence[str],
        settings: NegPromptSettings,
        positive: Tensor,
        negative: Tensor,
    ) -> None:
        super().__init__(backbone, class_names, settings.layout(), settings.optimizer)
        self._settings = settings
        self.negative_context = nn.Parameter(negative)
        self.register_buffer("positive_context", positive.clone())
        self._positive_text: Tensor | None = None

    def contexts(self) -> Contexts:
        """The positive context as it came and the learned negative one."""
        return Contexts(self.positive_context, self.negative_context.detach())

    @property
    def positive_text(self) -> Tensor:
        """Text features (K, D) of the positive prompts: frozen, so encoded once, where the training runs."""
        if self._positive_text is None:
            with torch.no_grad(), torch.autocast(self.device.type, enabled=False):
                self._positive_text = self.encoder(self.backbone, self.positive_context)
        return self._positive_text

    def loss(self, image_features: Tensor, labels: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Weighted sum of NIS, NPD and NND (Eq. 7)."""
        negative_text = self.encoder.encode_negative(self.backbone, self.negative_context)
        positive_text = self.positive_text
        negative_cosines, text = products(image_features, positive_text, negative_text)
        cosines = Similarity(similarity(image_features, positive_text).positive, negative_cosines)
        settings = self._settings
        terms = negprompt_terms(
            cosines,
            labels,
            text,
            self.backbone.logit_scale,
            nis=settings.nis,
            npd=settings.npd,
            nnd=settings.nnd,
        )
        total = total_loss(terms, npd_weight=settings.npd_weight, nnd_weight=settings.nnd_weight)
        return total, diagnostics(cosines, negative_text, terms, settings.nis)

    def on_train_end(self) -> None:
        """Say so when the negatives collapsed: their scores then mean nothing."""
        with torch.no_grad():
            warn_of_collapse(self.encoder.encode_negative(self.backbone, self.negative_context))
