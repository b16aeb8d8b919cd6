"""Training on pictures with captions: what CLIPN's text tower and ZOC's decoder share."""

from __future__ import annotations

import abc
from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from negprompt.backbones.base import FrozenBackbone
from negprompt.data.caption_loader import CaptionBatch
from negprompt.methods.base import OnBackbone
from negprompt.training.schedule import AdamWSettings, cosine_steps


class CaptionTraining(OnBackbone, abc.ABC):
    """Trains whatever parameters it has beside the frozen backbone.

    Args:
        backbone: frozen CLIP.
        optimizer: recipe.
        num_steps: over which the learning rate falls to 0.
    """

    def __init__(self, backbone: FrozenBackbone, optimizer: AdamWSettings, num_steps: int) -> None:
        super().__init__(backbone)
        self._optimizer = optimizer
        self._num_steps = num_steps

    @abc.abstractmethod
    def loss(self, batch: CaptionBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean loss over this process's pairs, and the terms to log."""

    @abc.abstractmethod
    def tensors(self) -> dict[str, Tensor]:
        """All that was learned, by the names of an adapter."""

    def training_step(self, batch: CaptionBatch, batch_idx: int) -> dict[str, Any]:  # noqa: ARG002
        """Loss of one batch, which all processes share, and its terms for the curves."""
        loss, terms = self.loss(batch)
        return self.step_result(loss, terms, len(batch["row"]), fix="method.training.lr")

    def configure_optimizers(self) -> Any:  # noqa: ANN401 -- Lightning's own type is a long union
        """AdamW with a cosine over all steps."""
        recipe = self._optimizer
        trained = [named for named in self.named_parameters() if named[1].requires_grad]
        groups = decay_groups(trained, recipe.weight_decay)
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
