"""GL-MCM (Miyai et al., "GL-MCM: Global and local maximum concept matching"): MCM of the picture and of its regions."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from negprompt.errors import ConfigError
from negprompt.scores.base import check_temperature, score
from negprompt.types import ScoreInputs


@score(needs={"local"})
def gl_mcm(inputs: ScoreInputs, *, temperature: float = 1.0, local_weight: float = 1.0) -> Tensor:
    """MCM, plus the largest share that a class has in any region.

    Args:
        inputs: cosines (B, K) and those of the regions (B, R, K), *not* multiplied by CLIP's logit scale.
        temperature: softmax temperature of both, > 0.
        local_weight: of the regions, >= 0; 1.0 in LoCoOp and by default in GL-MCM, whose ImageNet script has 0.5.

    Returns:
        Scores (B,), float64; MCM itself where there are no regions. Higher means more in-distribution.

    Raises:
        ConfigError: no local features, or a setting out of range.

    Example:
        >>> from negprompt.types import Similarity
        >>> cosines = Similarity(torch.tensor([[0.2, 0.2]]), local=torch.tensor([[[0.3, 0.1], [0.2, 0.2]]]))
        >>> gl_mcm(ScoreInputs(cosines, logit_scale=100.0))
        tensor([1.0498], dtype=torch.float64)
    """
    check_temperature("gl_mcm", temperature)
    if not 0 <= local_weight < math.inf:
        msg = f"score.gl_mcm.local_weight={local_weight} is not allowed: a weight is a number >= 0, for example 1.0."
        raise ConfigError(msg)
    local = inputs.similarity.local
    if local is None:
        msg = "The score 'gl_mcm' needs local image features: ask for it when the run is started, or use score=mcm."
        raise ConfigError(msg)
    whole = torch.softmax(inputs.similarity.positive.double() / temperature, dim=1).amax(dim=1)
    if local.shape[1] == 0:
        return whole
    return whole + local_weight * torch.softmax(local.double() / temperature, dim=2).amax(dim=(1, 2))
