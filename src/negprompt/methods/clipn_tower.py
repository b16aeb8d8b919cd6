"""Training of CLIPN's "no" text tower on pictures with captions (Wang et al., ICCV 2023, section 3.3)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 -- torch's own convention
from torch import Tensor, nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from negprompt.backbones.base import FrozenBackbone
from negprompt.data.caption_loader import CaptionBatch
from negprompt.methods.base import OnBackbone
from negprompt.objectives.clipn import Pairs, clipn_loss, yes_logits
from negprompt.prompts.no_text import NoText, drawn_prompts, encode_captions
from negprompt.prompts.sharding import gather_all
from negprompt.training.schedule import AdamWSettings, cosine_steps

_LARGEST_SCALE = 100.0
"""CLIP's logit scale is never above that in CLIPN's code."""


class NoTextTraining(OnBackbone):
    """Trains the second text tower; both towers of the backbone stay as they are.

    Args:
        backbone: frozen CLIP.
        tower: what is trained.
        optimizer: recipe.
        num_steps: over which the learning rate falls to 0.
        seed: of the prompts that are drawn.
    """

    def __init__(
        self, backbone: FrozenBackbone, tower: NoText, optimizer: AdamWSettings, num_steps: int, seed: int
    ) -> None:
        super().__init__(backbone)
        self.tower = tower
        self._optimizer = optimizer
        self._num_steps = num_steps
        self._seed = seed

    def training_step(self, batch: CaptionBatch, batch_idx: int) -> dict[str, Any]:  # noqa: ARG002
        """Loss of one batch, which all processes share, and its terms for the curves."""
        loss, terms = self.loss(batch)
        return self.step_result(loss, terms, len(batch["row"]), fix="method.training.lr")

    def loss(self, batch: CaptionBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean loss of this process's pictures against the captions of all processes, and the terms to log."""
        pairs, scale = self.pairs(batch), min(self.backbone.logit_scale, _LARGEST_SCALE)
        total, terms = clipn_loss(pairs, scale)
        with torch.no_grad():
            own = yes_logits(pairs, scale).diagonal(pairs.first).sigmoid().mean()
        return total, {"itbo": terms.itbo.detach(), "tso": terms.tso.detach(), "yes": own}

    def pairs(self, batch: CaptionBatch) -> Pairs:
        """Features of this process's pictures and of all captions."""
        tokens, end = batch["tokens"], batch["end"]
        image = F.normalize(self.encode_image(batch["image"]).float(), dim=-1)
        with torch.no_grad():
            yes = encode_captions(self.backbone.text_tower(), tokens, end)
        drawn = drawn_prompts(self._seed, batch["epoch"], batch["row"], len(self.tower.prompts))
        no, first = gather_all(self.tower(tokens, end, drawn))
        return Pairs(image, gather_all(yes)[0], no, first)

    def configure_optimizers(self) -> Any:  # noqa: ANN401 -- Lightning's own type is a long union
        """AdamW with a cosine over all steps."""
        recipe = self._optimizer
        groups = decay_groups(self.tower.named_parameters(), recipe.weight_decay)
        adamw = AdamW(groups, lr=recipe.lr, betas=(recipe.beta1, recipe.beta2), eps=recipe.eps)
        schedule = LambdaLR(adamw, lambda step: cosine_steps(step, self._num_steps))
        return {"optimizer": adamw, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def decay_groups(named: Iterable[tuple[str, nn.Parameter]], weight_decay: float) -> list[dict[str, Any]]:
    """Parameters with and without weight decay: none for biases, norms, whatever has one axis or none, logit scales."""
    decayed: list[nn.Parameter] = []
    free: list[nn.Parameter] = []
    for name, parameter in named:
        spared = parameter.dim() < 2 or any(part in name for part in ("bias", "ln_", "logit"))
        (free if spared else decayed).append(parameter)
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": free, "weight_decay": 0.0}]
