"""How far apart prompts lie: two cosines that show a collapse of the negatives."""

from __future__ import annotations

from torch import Tensor


def cosine_across_classes(negative_text: Tensor) -> Tensor:
    """Mean cosine between negatives of different classes; 1 means that they all point one way.

    Args:
        negative_text: unit text features (K, P, D).

    Returns:
        Scalar in [-1, 1]; 0 for a single class, where there is nothing to compare.

    Example:
        >>> import torch
        >>> cosine_across_classes(torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]]))
        tensor(0.)
    """
    classes, negatives, _ = negative_text.shape
    if classes == 1:
        return negative_text.new_zeros(())
    per_class = negative_text.sum(1)
    everything = per_class.sum(0).square().sum()
    within = per_class.square().sum()
    return (everything - within) / (classes * (classes - 1) * negatives**2)


def cosine_within_class(negative_text: Tensor) -> Tensor:
    """Mean cosine between two negatives of one class; 1 means that they are still one prompt.

    Args:
        negative_text: unit text features (K, P, D).

    Returns:
        Scalar in [-1, 1]; 0 for P = 1, where there is nothing to compare.

    Example:
        >>> import torch
        >>> cosine_within_class(torch.tensor([[[1.0, 0.0], [0.6, 0.8]]]))
        tensor(0.6000)
    """
    negatives = negative_text.shape[1]
    if negatives == 1:
        return negative_text.new_zeros(())
    return (negative_text.sum(1).square().sum(-1).mean() - negatives) / (negatives * (negatives - 1))
