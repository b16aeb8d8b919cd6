"""Learned context vectors in words: entries of the token table that lie near, and how far the vectors moved."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812 -- torch's own convention
from torch import Tensor

from negprompt.types import TextFeatures

_ROWS = 8192


class Nearest(NamedTuple):
    """For each of n vectors the nearest c things, nearest first: `cosines` (n, c) float64 and their `places` (n, c)."""

    cosines: Tensor
    places: Tensor


def nearest_tokens(context: Tensor, table: Tensor, count: int) -> Nearest:
    """Nearest rows of a token table by cosine, in double precision.

    Args:
        context: vectors (n, d).
        table: rows (V, d); rows of zeros, of tokens that never occurred, are near to nothing.
        count: how many to find.

    Example:
        >>> found = nearest_tokens(torch.tensor([[0.0, 2.0]]), torch.tensor([[1.0, 0.0], [0.0, 0.5], [0.0, 0.0]]), 1)
        >>> found.cosines.tolist(), found.places.tolist()
        ([[1.0]], [[1]])
    """
    vectors = F.normalize(context.double(), dim=-1)
    parts = []
    for start in range(0, len(table), _ROWS):
        rows = table[start : start + _ROWS]
        cosines = vectors @ F.normalize(rows.double(), dim=-1).T
        cosines[:, ~rows.any(dim=1)] = -torch.inf
        parts.append(cosines)
    return Nearest(*torch.cat(parts, dim=1).topk(min(count, int(table.any(dim=1).sum())), dim=1))


def drift(context: Tensor, start: Tensor) -> Tensor:
    """Distance of each vector (n, d) from its start, over the start's length: 0 where it stayed, infinite from zero.

    Example:
        >>> drift(torch.tensor([[3.0, 1.0]]), torch.tensor([[3.0, 0.0]]))
        tensor([0.3333], dtype=torch.float64)
    """
    begun = start.double()
    distance: Tensor = torch.linalg.vector_norm(context.double() - begun, dim=-1)
    length: Tensor = torch.linalg.vector_norm(begun, dim=-1)
    return distance / length


def class_cosines(text: TextFeatures, *, class_specific: bool) -> Tensor:
    """How near negative prompts lie to the positive prompts of other classes, in double precision.

    Args:
        text: of K classes, with negatives (K, P, D).
        class_specific: whether each class has negatives of its own; else a negative is one context before all names.

    Returns:
        (K, P, K): cosine of each negative to the positive of each class, -inf to its own. For shared contexts
        (1, P, K): the mean over the negative behind the other names.

    Example:
        >>> text = TextFeatures(torch.eye(2), torch.tensor([[[0.6, 0.8]], [[0.0, 1.0]]]))
        >>> class_cosines(text, class_specific=False)  # of class 1's negative to class 0, and of class 0's to class 1
        tensor([[[0.0000, 0.8000]]], dtype=torch.float64)
    """
    if text.negative is None:
        msg = "class_cosines of a run without negative prompts"
        raise ValueError(msg)
    cosines = torch.einsum("kpd,jd->kpj", text.negative.double(), text.positive.double())
    number = len(cosines)
    own = torch.eye(number, dtype=torch.bool, device=cosines.device).unsqueeze(1)
    if class_specific:
        return cosines.masked_fill(own, -torch.inf)
    return cosines.masked_fill(own, 0.0).sum(dim=0, keepdim=True) / max(number - 1, 1)
