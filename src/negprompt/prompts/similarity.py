"""Cosines between images and prompts, in full precision whatever the towers run in."""

from __future__ import annotations

import torch
from torch import Tensor

from negprompt.types import Similarity


def similarity(images: Tensor, positive_text: Tensor, negative_text: Tensor | None = None) -> Similarity:
    """Unit features -> cosines; autocast is switched off, since half a digit of a cosine is a whole logit.

    Args:
        images: (B, D).
        positive_text: (K, D).
        negative_text: (K, P, D), None for a run without negative prompts.

    Example:
        >>> similarity(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.6, 0.8]]))
        Similarity(positive=tensor([[0.6000]]), negative=None)
    """
    with torch.autocast(images.device.type, enabled=False):
        positive = images @ positive_text.T
        if negative_text is None:
            return Similarity(positive)
        return Similarity(positive, torch.einsum("bd,kpd->bkp", images, negative_text))
