"""Competing-to-win, a score of CLIPN (Wang et al., ICCV 2023, section 3.5)."""

from __future__ import annotations

import torch
from torch import Tensor

from negprompt.scores.base import score
from negprompt.scores.no_text import yes_shares
from negprompt.types import ScoreInputs


@score(needs={"no_text"})
def ctw(inputs: ScoreInputs) -> Tensor:
    """How much of the nearest class the picture says "yes" to; below one half CLIPN calls it OOD.

    Args:
        inputs: cosines to "yes" prompts (B, K) and to "no" prompts (B, K, 1).

    Returns:
        Scores (B,) in [0, 1], float64. Higher means more in-distribution.

    Raises:
        ConfigError: there are no "no" prompts.

    Example:
        >>> from negprompt.types import Similarity
        >>> cosines = Similarity(torch.tensor([[0.30, 0.20]]), torch.tensor([[[0.30], [0.10]]]))
        >>> ctw(ScoreInputs(cosines, logit_scale=100.0))
        tensor([0.5000], dtype=torch.float64)
    """
    shares = yes_shares("ctw", inputs)
    nearest = inputs.similarity.positive.argmax(dim=1, keepdim=True)
    return torch.gather(shares, 1, nearest).squeeze(1)
