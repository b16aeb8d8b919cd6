"""The loss that ZOC's decoder is trained with (Esmaeilpour et al., AAAI 2022, section 3.1): likelihood of captions."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812  (the field's name)
from torch import Tensor


def caption_loss(logits: Tensor, targets: Tensor, captions: int) -> Tensor:
    """Mean over captions of -log p(caption | picture), the sum over its tokens, the end token included.

    A caption counts once, however long it is, so that parts of a batch are weighted by their number of captions.

    Args:
        logits: of the next token (N, V), at all places of all captions; places that only fill up are left out.
        targets: that token's column (N,).
        captions: how many there are.

    Returns:
        A float32 scalar >= 0.

    Example:
        >>> round(float(caption_loss(torch.zeros(6, 8), torch.zeros(6, dtype=torch.long), captions=2)), 4)  # 3 ln 8
        6.2383
    """
    with torch.autocast(logits.device.type, enabled=False):
        return F.cross_entropy(logits.float(), targets, reduction="sum") / captions
