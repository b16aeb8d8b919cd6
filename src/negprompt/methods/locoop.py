"""LoCoOp (Miyai et al., NeurIPS 2023): CoOp, and regions of the few-shot pictures that show none of the classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import torch
import torch.distributed as dist
from pydantic import Field
from torch import Tensor

from negprompt.backbones.base import FrozenBackbone
from negprompt.methods.base import share_of_batch
from negprompt.methods.coop import CoOp, CoOpSettings
from negprompt.objectives.coop import positive_loss
from negprompt.objectives.locoop import check_top_k, default_top_k, irrelevant_regions, negative_entropy
from negprompt.prompts.context import initial_context
from negprompt.prompts.reader import Reader
from negprompt.prompts.template import PromptLayout
from negprompt.ranks import world_size
from negprompt.training.schedule import OptimizerSettings
from negprompt.types import Batch, PromptBundle, TextFeatures


class LoCoOpSettings(CoOpSettings):
    """Settings of LoCoOp.

    `ood_weight`: lambda of the entropy term. `top_k`: a region counts as showing its class where that is among the
    `top_k` nearest; a number below 1 is a share of the training classes, null a fifth, the published 200 of 1,000.
    """

    ood_weight: Annotated[float, Field(ge=0)] = 0.25
    top_k: Annotated[int, Field(ge=1)] | Annotated[float, Field(gt=0, lt=1)] | None = None

    def _top_k(self, num_classes: int) -> int:
        if self.top_k is None:
            return default_top_k(num_classes)
        return self.top_k if isinstance(self.top_k, int) else default_top_k(num_classes, self.top_k)

    @property
    def provides(self) -> frozenset[str]:
        """Local features, which its training reads anyway."""
        return frozenset({"local"})

    @property
    def looks_at(self) -> frozenset[str]:
        """Local features."""
        return frozenset({"local"})

    def module(
        self, backbone: FrozenBackbone, class_names: Sequence[str], seed: int, positive: PromptBundle | None
    ) -> LoCoOp:
        """A LoCoOp module with a fresh context.

        Raises:
            ConfigError: a `top_k` that selects no region.
        """
        del positive
        top_k = self._top_k(len(class_names))
        check_top_k(top_k, len(class_names))
        num_classes = len(class_names) if self.class_specific else None
        context = initial_context(
            backbone, self.num_context_tokens, self.context_init, self.context_words, seed, num_classes
        )
        return LoCoOp(backbone, class_names, self.layout(), self.optimizer, context, self.ood_weight, top_k)


class LoCoOp(CoOp):
    """Learns the positive context from pictures and their regions.

    Args:
        backbone: frozen CLIP with local features.
        class_names: training classes in label order.
        layout: how prompts are put together.
        optimizer: training recipe.
        context: start value, (n, d) shared or (K, n, d) class-specific.
        ood_weight: lambda.
        top_k: K of the selection.
    """

    def __init__(
        self,
        backbone: FrozenBackbone,
        class_names: Sequence[str],
        layout: PromptLayout,
        optimizer: OptimizerSettings,
        context: Tensor,
        ood_weight: float,
        top_k: int,
    ) -> None:
        super().__init__(backbone, class_names, layout, optimizer, context)
        self._ood_weight = ood_weight
        self._top_k = top_k

    def metadata(self) -> dict[str, Any]:
        """K and lambda, which LoCoOp's authors ask to report."""
        return {"top_k": self._top_k, "ood_weight": self._ood_weight}

    def batch_loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Cross entropy of the pictures, minus lambda times the mean entropy of the regions that show none of it."""
        reader = Reader(TextFeatures(self.encoder(self.backbone, self.context)), self.backbone.logit_scale)
        cosines = reader.similarity(*self._features(batch))
        if cosines.local is None:
            msg = "a batch without local features"
            raise RuntimeError(msg)
        labels, scale = batch["label"], self.backbone.logit_scale
        selected = irrelevant_regions(cosines.local.detach(), labels, self._top_k)
        ood = negative_entropy(cosines.local, selected, scale) / self._share(selected.sum(), len(labels))
        total = positive_loss(cosines, labels, scale) + self._ood_weight * ood
        accuracy = (cosines.positive.detach().argmax(dim=1) == labels).float().mean()
        return total, {"accuracy": accuracy, "ood": ood.detach(), "irrelevant": selected.float().mean()}

    @torch.no_grad()
    def _features(self, batch: Batch) -> tuple[Tensor, Tensor]:
        if "local_features" in batch:
            return batch["image_features"], batch["local_features"]
        return self.backbone.encode_image_with_local(batch["image"])

    @staticmethod
    def _share(selected: Tensor, pictures: int) -> Tensor:
        """What the sum over a process's regions is divided by, so that all processes' mean is over all regions.

        The loss of a process is weighted by its pictures; the regions that are selected are shared out otherwise.
        """
        if world_size() == 1:
            return selected.clamp_min(1).float()
        total = selected.float()
        dist.all_reduce(total)
        return total.clamp_min(1) * share_of_batch(pictures, total.device) / world_size()
