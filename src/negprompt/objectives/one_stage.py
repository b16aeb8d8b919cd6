"""The positive term of the one-stage ablation: cross entropy with the negatives among the rivals, or without."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812  (the field's name)
from torch import Tensor

from negprompt.errors import ConfigError
from negprompt.types import Similarity


def joint_loss(similarity: Similarity, labels: Tensor, logit_scale: float | Tensor) -> Tensor:
    """Cross entropy of the true class's positive prompt in a softmax over positives and negatives (Eq. 3).

    Args:
        similarity: cosines to positives (B, K) and negatives (B, K, P).
        labels: class of each image (B,), int64 in [0, K).
        logit_scale: what the cosines are multiplied by (about 100 for CLIP).

    Returns:
        Mean over the batch, a float32 scalar >= 0; `positive_loss` is its limit for negatives far from every image.

    Raises:
        ConfigError: if the similarity holds no negatives.

    Example:
        >>> cosines = Similarity(torch.tensor([[0.2, 0.2]]), torch.full((1, 2, 1), 0.2))
        >>> joint_loss(cosines, torch.tensor([0]), 100.0)  # log 4
        tensor(1.3863)
    """
    if similarity.negative is None:
        msg = "The joint cross entropy needs negative prompts: set method.num_negatives >= 1."
        raise ConfigError(msg)
    logits = torch.cat([similarity.positive.float(), similarity.negative.float().flatten(start_dim=1)], dim=1)
    return F.cross_entropy(logit_scale * logits, labels)
