"""Cosines between images and prompts, in full precision whatever the towers run in."""

from __future__ import annotations

import torch
from torch import Tensor

from negprompt.types import Similarity


def similarity(
    images: Tensor, positive_text: Tensor, negative_text: Tensor | None = None, regions: Tensor | None = None
) -> Similarity:
    """Unit features -> cosines; autocast is switched off, since half a digit of a cosine is a whole logit.

    Args:
        images: (B, D).
        positive_text: (K, D).
        negative_text: (K, P, D), None for a run without negative prompts.
        regions: (B, R, D) of the images' regions, None where nobody looks at them.

    Example:
        >>> similarity(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.6, 0.8]])).positive
        tensor([[0.6000]])
    """
    with torch.autocast(images.device.type, enabled=False):
        return Similarity(
            images @ positive_text.T,
            None if negative_text is None else torch.einsum("bd,kpd->bkp", images, negative_text),
            None if regions is None else regions @ positive_text.T,
        )
