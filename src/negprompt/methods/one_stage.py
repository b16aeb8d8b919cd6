"""The one-stage ablation of NegPrompt (Table 5): positive and negative prompts learned together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from negprompt.backbones.base import FrozenBackbone
from negprompt.methods.base import Contexts, PromptLearning
from negprompt.methods.negatives import diagnostics, warn_of_collapse
from negprompt.methods.negprompt import NegativeSettings
from negprompt.objectives.coop import positive_loss
from negprompt.objectives.negprompt import negprompt_terms, total_loss
from negprompt.objectives.one_stage import joint_loss
from negprompt.objectives.products import products
from negprompt.prompts.context import initial_context, initial_negative_context
from negprompt.prompts.similarity import similarity
from negprompt.types import PromptBundle, Similarity


class OneStageSettings(NegativeSettings):
    """Settings of the ablation, of which the paper says no more than that both kinds are trained at once.

    `positive_rivals`: what the positives' cross entropy has in its denominator, `positives` (Eq. 1) or `joint`
    (Eq. 3). `npd_detached`: whether NPD moves the negatives only.
    """

    positive_rivals: Literal["positives", "joint"] = "positives"
    npd_detached: bool = False

    def module(
        self, backbone: FrozenBackbone, class_names: Sequence[str], seed: int, positive: PromptBundle | None
    ) -> OneStage:
        """A module with fresh contexts, the negatives around the positive one."""
        del positive
        num_classes = len(class_names) if self.class_specific else None
        start = initial_context(
            backbone, self.num_context_tokens, self.context_init, self.context_words, seed, num_classes
        )
        negative = initial_negative_context(start, self.num_negatives, self.negative_init, self.negative_noise, seed)
        return OneStage(backbone, class_names, self, start, negative)


class OneStage(PromptLearning):
    """Learns the positive and P negative contexts together.

    Args:
        backbone: frozen CLIP.
        class_names: training classes in label order.
        settings: loss forms, weights and training recipe.
        positive: start value, (n, d) or (K, n, d).
        negative: start value, (P, n, d) or (K, P, n, d).
    """

    def __init__(
        self,
        backbone: FrozenBackbone,
        class_names: Sequence[str],
        settings: OneStageSettings,
        positive: Tensor,
        negative: Tensor,
    ) -> None:
        super().__init__(backbone, class_names, settings.layout(), settings.optimizer)
        self._settings = settings
        self.positive_context = nn.Parameter(positive)
        self.negative_context = nn.Parameter(negative)

    def contexts(self) -> Contexts:
        """Both learned contexts."""
        return Contexts(self.positive_context.detach(), self.negative_context.detach())

    def loss(self, image_features: Tensor, labels: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Eq. 2 + Eq. 7: cross entropy of the positives, NIS, NPD and NND."""
        settings, scale = self._settings, self.backbone.logit_scale
        negative_text = self.encoder.encode_negative(self.backbone, self.negative_context)
        positive_text = self.encoder(self.backbone, self.positive_context)
        anchors = positive_text.detach() if settings.npd_detached else positive_text
        negative_cosines, text = products(image_features, anchors, negative_text)
        cosines = Similarity(similarity(image_features, positive_text).positive, negative_cosines)
        positive = (joint_loss if settings.positive_rivals == "joint" else positive_loss)(cosines, labels, scale)
        terms = negprompt_terms(cosines, labels, text, scale, nis=settings.nis, npd=settings.npd, nnd=settings.nnd)
        total = positive + total_loss(terms, npd_weight=settings.npd_weight, nnd_weight=settings.nnd_weight)
        accuracy = (cosines.positive.detach().argmax(dim=1) == labels).float().mean()
        values = diagnostics(cosines, negative_text, terms, settings.nis)
        return total, {"positive": positive.detach(), "accuracy": accuracy, **values}

    def on_train_end(self) -> None:
        """Say so when the negatives collapsed: their scores then mean nothing."""
        with torch.no_grad():
            warn_of_collapse(self.encoder.encode_negative(self.backbone, self.negative_context))
