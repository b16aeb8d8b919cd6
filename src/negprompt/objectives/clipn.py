"""The losses of CLIPN (Wang et al., ICCV 2023, section 3.3): a second text tower learns to say "no"."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812  (the field's name)
from torch import Tensor

_INSIDE_ROOT = 1e-4
"""What the released code adds below the root, whose slope is infinite at 0, where training starts."""


class Pairs(NamedTuple):
    """Unit features of N pictures with their captions, and of the captions in both towers; row i is pair i.

    `image` (B, D) may be those of B pairs only, `first` is then the row of the first of them: processes that share a
    batch see all texts and their own pictures. `yes` (N, D) of the frozen text tower, `no` (N, D) of the trained one.
    """

    image: Tensor
    yes: Tensor
    no: Tensor
    first: int = 0


class ClipnTerms(NamedTuple):
    """Both terms, float32 scalars."""

    itbo: Tensor
    tso: Tensor


def clipn_loss(pairs: Pairs, logit_scale: float | Tensor) -> tuple[Tensor, ClipnTerms]:
    """Half the sum of both terms, as in the released code, and the terms.

    Example:
        >>> same = torch.eye(2)
        >>> [round(float(term), 3) for term in clipn_loss(Pairs(same, same, same), 100.0)[1]]
        [1.386, 1.99]
    """
    rows = slice(pairs.first, pairs.first + len(pairs.image))
    terms = ClipnTerms(itbo_loss(pairs, logit_scale), tso_loss(pairs.yes[rows], pairs.no[rows]))
    return 0.5 * (terms.itbo + terms.tso), terms


def yes_logits(pairs: Pairs, logit_scale: float | Tensor) -> Tensor:
    """Logits (B, N) of p_ij, the share of "yes" against "no" that picture i gives caption j (section 3.3)."""
    with torch.autocast(pairs.image.device.type, enabled=False):
        image = pairs.image.float()
        return logit_scale * (image @ (pairs.yes.float() - pairs.no.float()).T)


def itbo_loss(pairs: Pairs, logit_scale: float | Tensor) -> Tensor:
    """Image-text binary-opposite loss: a picture says "yes" to its own caption and "no" to all others.

    -(1/B) sum_i [ log p_ii + (1/(N-1)) sum_{j != i} log(1 - p_ij) ] over the B pictures that are here, where N counts
    all captions. With N = 1 there is nothing to say "no" to and the second term is 0.

    Args:
        pairs: unit features.
        logit_scale: what cosines are multiplied by, about 100 for CLIP.

    Returns:
        A float32 scalar >= 0; 2 log 2 where both text towers are the same.
    """
    logits = yes_logits(pairs, logit_scale)
    own = torch.eye(*logits.shape, dtype=torch.bool, device=logits.device).roll(pairs.first, dims=1)
    others = F.logsigmoid(-logits).masked_fill(own, 0.0).sum(dim=1) / max(1, logits.shape[1] - 1)
    return -(F.logsigmoid(logits[own]) + others).mean()


def tso_loss(yes: Tensor, no: Tensor) -> Tensor:
    """Text semantic-opposite loss: "yes" and "no" features of a caption lie on opposite sides.

    mean_i 2 - |g_i - h_i|, the length written as sqrt(2 - 2 g_i h_i + 1e-4).

    Args:
        yes: unit features (B, D).
        no: unit features (B, D) of the same captions.

    Returns:
        A float32 scalar: about 2 where both are equal, 0 where they are opposite.
    """
    with torch.autocast(yes.device.type, enabled=False):
        cosines = (yes.float() * no.float()).sum(dim=1)
        return (2 - torch.sqrt(2 - 2 * cosines + _INSIDE_ROOT)).mean()
