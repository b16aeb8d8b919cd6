"""The nearest positive and the nearest negative prompt of each picture."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 -- torch's own convention
from torch import Tensor

from negprompt.types import NearestPrompts, TextFeatures

_COSINES = 1 << 23
"""Cosines that are held at a time, 64 MB in double precision."""


@torch.no_grad()
def nearest_prompts(features: Tensor, text: TextFeatures, *, chunk: int | None = None) -> NearestPrompts:
    """Largest cosines of pictures to prompts, chunk by chunk.

    In double precision, kept in single: how a matrix is cut changes the last bits of a product, and these are rounded
    away, so the result does not depend on the chunks.

    Args:
        features: of N pictures (N, D), not normalised; read chunk by chunk.
        text: unit text features of K classes, on any device.
        chunk: pictures at a time, None for as many as fit into a fixed memory.

    Example:
        >>> text = TextFeatures(torch.eye(2), torch.tensor([[[-1.0, 0.0]], [[0.6, 0.8]]]))
        >>> found = nearest_prompts(torch.tensor([[0.0, 5.0]]), text)
        >>> found.positive_class.tolist(), found.negative, found.negative_class.tolist()
        ([1], tensor([0.8000]), [1])
    """
    positive, negative = text.positive.double(), None
    prompts = len(positive)
    if text.negative is not None:
        negative = text.negative.double().flatten(0, 1)
        prompts = len(negative)
    size = chunk or max(1, _COSINES // prompts)
    parts: list[list[Tensor]] = [[], [], [], []]
    for start in range(0, len(features), size):
        images = F.normalize(features[start : start + size].to(positive.device).double(), dim=-1)
        cosines, rows = (images @ positive.T).max(dim=1)
        _keep(parts, 0, cosines, rows)
        if negative is not None and text.negative is not None:
            cosines, rows = (images @ negative.T).max(dim=1)
            _keep(parts, 2, cosines, rows // text.negative.shape[1])
    whole = [torch.cat(part) if part else None for part in parts]
    if whole[0] is None or whole[1] is None:  # no pictures
        return NearestPrompts(torch.zeros(0), torch.zeros(0, dtype=torch.long))
    return NearestPrompts(whole[0], whole[1], whole[2], whole[3])


def _keep(parts: list[list[Tensor]], place: int, cosines: Tensor, classes: Tensor) -> None:
    parts[place].append(cosines.float().cpu())
    parts[place + 1].append(classes.cpu())
