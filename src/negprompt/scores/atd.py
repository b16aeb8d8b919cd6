"""Agreeing-to-differ, a score of CLIPN (Wang et al., ICCV 2023, section 3.5)."""

from __future__ import annotations

import torch
from torch import Tensor

from negprompt.scores.base import score
from negprompt.scores.no_text import yes_shares
from negprompt.types import ScoreInputs


@score(needs={"no_text"})
def atd(inputs: ScoreInputs) -> Tensor:
    """Share of all classes together that the picture says "yes" to: 1 minus the share of CLIPN's further, OOD class.

    Args:
        inputs: cosines to "yes" prompts (B, K) and to "no" prompts (B, K, 1).

    Returns:
        Scores (B,) in [0, 1], float64. Higher means more in-distribution.

    Raises:
        ConfigError: there are no "no" prompts.

    Example:
        >>> from negprompt.types import Similarity
        >>> cosines = Similarity(torch.tensor([[0.30, 0.30]]), torch.tensor([[[0.30], [0.10]]]))
        >>> atd(ScoreInputs(cosines, logit_scale=100.0))
        tensor([0.7500], dtype=torch.float64)
    """
    classes = torch.softmax(inputs.logit_scale * inputs.similarity.positive.double(), dim=1)
    return (yes_shares("atd", inputs) * classes).sum(dim=1)
