"""Image features through Lightning's predict loop, so that no file here knows a device."""

from __future__ import annotations

import lightning
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from negprompt.backbones.base import FrozenBackbone
from negprompt.training.trainer import interruptible
from negprompt.types import Batch


class FeatureExtraction(lightning.LightningModule):
    """Predicts image features (B, D) float32, not normalised."""

    def __init__(self, backbone: FrozenBackbone) -> None:
        super().__init__()
        self.backbone = backbone

    def predict_step(self, batch: Batch, batch_idx: int) -> Tensor:  # noqa: ARG002 -- Lightning's signature
        """Features of one batch, on the CPU."""
        return self.backbone.encode_image(batch["image"]).float().cpu()


def extract(backbone: FrozenBackbone, trainer: lightning.Trainer, loader: DataLoader[Batch]) -> Tensor:
    """Features (N, D) of all pictures of a loader, in its order.

    Args:
        backbone: frozen image tower.
        trainer: says where to run and shows progress.
        loader: pictures in order.
    """
    with interruptible():
        batches = trainer.predict(FeatureExtraction(backbone), loader) or []
    return torch.cat([batch for batch in batches if isinstance(batch, Tensor)])
