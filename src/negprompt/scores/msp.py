"""Maximum softmax probability of CLIP's own classifier (Hendrycks and Gimpel, 2017, on CLIP's logits)."""

from __future__ import annotations

import torch
from torch import Tensor

from negprompt.scores.base import check_temperature, score
from negprompt.types import ScoreInputs


@score()
def msp(inputs: ScoreInputs, *, temperature: float = 1.0) -> Tensor:
    """Largest share in a softmax of the logits over the classes.

    Differs from `mcm` in one thing: the softmax sees the cosines times CLIP's logit scale.

    Args:
        inputs: cosines (B, K) and the logit scale; negative prompts are not looked at.
        temperature: divides the logits, > 0; 1.0 is CLIP's classifier.

    Returns:
        Scores (B,) in [1/K, 1], float64: in float32 all confident images would tie at 1.
        Higher means more in-distribution.

    Raises:
        ConfigError: if the temperature is not a finite number > 0.

    Example:
        >>> from negprompt.types import Similarity
        >>> msp(ScoreInputs(Similarity(torch.tensor([[0.30, 0.28], [0.2, 0.2]])), logit_scale=100.0))
        tensor([0.8808, 0.5000], dtype=torch.float64)
    """
    check_temperature("msp", temperature)
    logits = inputs.logit_scale * inputs.similarity.positive.double()
    return torch.softmax(logits / temperature, dim=1).amax(dim=1)
