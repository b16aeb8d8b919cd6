"""Energy score (Liu et al., "Energy-based out-of-distribution detection"), its sign turned so that ID is high."""

from __future__ import annotations

import torch
from torch import Tensor

from negprompt.scores.base import check_temperature, score
from negprompt.types import ScoreInputs


@score()
def energy(inputs: ScoreInputs, *, temperature: float = 1.0) -> Tensor:
    """Negative free energy of the logits z: T logsumexp(z / T).

    Args:
        inputs: cosines (B, K) and the logit scale; negative prompts are not looked at.
        temperature: T > 0; towards 0 the score becomes `max_logit`.

    Returns:
        Scores (B,) in [max z, max z + T log K], float64. Higher means more in-distribution.

    Raises:
        ConfigError: if the temperature is not a finite number > 0.

    Example:
        >>> from negprompt.types import Similarity
        >>> energy(ScoreInputs(Similarity(torch.tensor([[0.25, 0.25]])), logit_scale=100.0))
        tensor([25.6931], dtype=torch.float64)
    """
    check_temperature("energy", temperature)
    logits = inputs.logit_scale * inputs.similarity.positive.double()
    return temperature * torch.logsumexp(logits / temperature, dim=1)
