"""The OOD term of LoCoOp (Miyai et al., NeurIPS 2023): regions without the object look like no class in particular."""

from __future__ import annotations

import torch
from torch import Tensor

from negprompt.errors import ConfigError

_INSIDE_LOG = 1e-5
"""What the released code adds to a share before its logarithm."""


def default_top_k(num_classes: int, share: float = 0.2) -> int:
    """K for a number of classes: a share of them, by default the published 200 of 1,000.

    Example:
        >>> default_top_k(1000), default_top_k(90), default_top_k(2), default_top_k(90, 0.1)
        (200, 18, 1, 9)
    """
    return max(1, round(share * num_classes))


def check_top_k(top_k: int, num_classes: int) -> None:
    """Refuse a K that would select no region at all.

    Raises:
        ConfigError: the true class of every region is among the K nearest, whatever the picture.
    """
    if top_k >= num_classes:
        msg = (
            f"method.top_k={top_k} with {num_classes} training classes selects no region, since every class is among "
            f"the {top_k} nearest: set method.top_k below {num_classes}, for example "
            f"{default_top_k(num_classes)}, or null for a fifth of the classes."
            if num_classes > 1
            else "method=locoop needs at least 2 training classes: regions are told apart by the classes they show."
        )
        raise ConfigError(msg)


def irrelevant_regions(local: Tensor, labels: Tensor, top_k: int) -> Tensor:
    """Regions (B, R) that do not show the class of their picture: K or more other classes are nearer.

    Args:
        local: cosines (B, R, K classes) of regions.
        labels: class of each picture (B,).
        top_k: how many nearest classes the true one must be among to count as shown.

    Example:
        >>> local = torch.tensor([[[0.3, 0.2, 0.1], [0.1, 0.2, 0.3]]])
        >>> irrelevant_regions(local, torch.tensor([0]), 2)
        tensor([[False,  True]])
    """
    own = local.gather(2, labels.view(-1, 1, 1).expand(-1, local.shape[1], 1))
    return (local > own).sum(dim=2) >= top_k


def negative_entropy(local: Tensor, selected: Tensor, logit_scale: float | Tensor) -> Tensor:
    """Minus the entropies of the class shares in the selected regions, added up; 0 where none is selected.

    Args:
        local: cosines (B, R, K) of regions.
        selected: which of them count (B, R).
        logit_scale: what the cosines are multiplied by.

    Returns:
        A float32 scalar >= -log K for each selected region; divide by their number for the mean.

    Example:
        >>> negative_entropy(torch.zeros(1, 1, 2), torch.tensor([[True]]), 100.0)
        tensor(-0.6931)
    """
    shares = torch.softmax(logit_scale * local.float(), dim=2)
    each = (shares * torch.log(shares + _INSIDE_LOG)).sum(dim=2)
    return torch.where(selected, each, 0.0).sum()
