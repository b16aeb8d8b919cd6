"""Maximum concept matching (Ming et al., "Delving into OOD detection with vision-language representations")."""

from __future__ import annotations

import torch
from torch import Tensor

from negprompt.scores.base import check_temperature, score
from negprompt.types import ScoreInputs


@score()
def mcm(inputs: ScoreInputs, *, temperature: float = 1.0) -> Tensor:
    """Largest share in a softmax of the raw cosines over the classes.

    Args:
        inputs: cosines (B, K), *not* multiplied by CLIP's logit scale; negative prompts are not looked at.
        temperature: softmax temperature, > 0; 1.0 is the published setting.

    Returns:
        Scores (B,) in [1/K, 1], float64: at temperature 1 they differ in late digits only.
        Higher means more in-distribution.

    Raises:
        ConfigError: if the temperature is not a finite number > 0.

    Example:
        >>> from negprompt.types import Similarity
        >>> mcm(ScoreInputs(Similarity(torch.tensor([[0.3, 0.1], [0.2, 0.2]])), logit_scale=100.0))
        tensor([0.5498, 0.5000], dtype=torch.float64)
    """
    check_temperature("mcm", temperature)
    return torch.softmax(inputs.similarity.positive.double() / temperature, dim=1).amax(dim=1)
