"""Training of CLIPN's "no" text tower on pictures with captions (Wang et al., ICCV 2023, section 3.3)."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 -- torch's own convention
from torch import Tensor

from negprompt.backbones.base import FrozenBackbone
from negprompt.data.caption_loader import CaptionBatch
from negprompt.methods.caption_training import CaptionTraining
from negprompt.objectives.clipn import Pairs, clipn_loss, yes_logits
from negprompt.prompts.no_text import NoText, drawn_prompts, encode_captions
from negprompt.prompts.sharding import gather_all
from negprompt.training.schedule import AdamWSettings

_LARGEST_SCALE = 100.0
"""CLIP's logit scale is never above that in CLIPN's code."""


class NoTextTraining(CaptionTraining):
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
        super().__init__(backbone, optimizer, num_steps)
        self.tower = tower
        self._seed = seed

    def tensors(self) -> dict[str, Tensor]:
        """The tower."""
        return self.tower.tensors()

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
