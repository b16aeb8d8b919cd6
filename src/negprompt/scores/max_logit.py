"""Maximum logit (Hendrycks et al., "Scaling out-of-distribution detection for real-world settings")."""

from __future__ import annotations

from torch import Tensor

from negprompt.scores.base import score
from negprompt.types import ScoreInputs


@score()
def max_logit(inputs: ScoreInputs) -> Tensor:
    """Largest logit: CLIP's logit scale times the cosine to the nearest class.

    Args:
        inputs: cosines (B, K) and the logit scale; negative prompts are not looked at.

    Returns:
        Scores (B,) in [-logit scale, logit scale], float64. Higher means more in-distribution.

    Example:
        >>> import torch
        >>> from negprompt.types import Similarity
        >>> max_logit(ScoreInputs(Similarity(torch.tensor([[0.25, 0.125]])), logit_scale=100.0))
        tensor([25.], dtype=torch.float64)
    """
    return inputs.logit_scale * inputs.similarity.positive.double().amax(dim=1)
