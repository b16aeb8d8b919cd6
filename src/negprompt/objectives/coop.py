"""The loss of stage 1: CoOp's cross entropy over the positive prompts (Eq. 1 and 2 of the NegPrompt paper)."""

from __future__ import annotations

import torch.nn.functional as F  # noqa: N812  (the field's name)
from torch import Tensor

from negprompt.types import Similarity


def positive_loss(similarity: Similarity, labels: Tensor, logit_scale: float | Tensor) -> Tensor:
    """Cross entropy of the softmax over the positive prompts of the training classes.

    Args:
        similarity: cosines; only `positive` (B, K) is read.
        labels: class of each image (B,), int64 in [0, K).
        logit_scale: what the cosines are multiplied by, 1/tau (about 100 for CLIP).

    Returns:
        Mean over the batch, a float32 scalar >= 0.

    Example:
        >>> import torch
        >>> positive_loss(Similarity(torch.tensor([[0.30, 0.28]])), torch.tensor([0]), 100.0)
        tensor(0.1269)
    """
    return F.cross_entropy(logit_scale * similarity.positive.float(), labels)
