"""The score of ZOC (Esmaeilpour et al., AAAI 2022, section 3.2): seen classes against names that were thought of."""

from __future__ import annotations

import torch
from torch import Tensor

from negprompt.errors import ConfigError
from negprompt.scores.base import score
from negprompt.types import ScoreInputs


@score(needs={"candidates"})
def zoc(inputs: ScoreInputs) -> Tensor:
    """Share of the seen classes in a softmax over them and the picture's candidate names, at CLIP's logit scale.

    This is 1 - s_OOD, where the paper's s_OOD is the share of the candidates.

    Args:
        inputs: cosines to the seen classes (B, K) and to candidate names (B, C), -inf where there is none.

    Returns:
        Scores (B,) in [0, 1], float64; 1 for a picture without candidates. Higher means more in-distribution.

    Raises:
        ConfigError: no names were proposed.

    Example:
        >>> from negprompt.types import Similarity
        >>> seen = Similarity(torch.tensor([[0.30, 0.30], [0.30, 0.30]]))
        >>> candidates = torch.tensor([[0.30, 0.30], [0.30, -torch.inf]])
        >>> zoc(ScoreInputs(seen, logit_scale=100.0, candidates=candidates))
        tensor([0.5000, 0.6667], dtype=torch.float64)
    """
    if inputs.candidates is None:
        msg = "The score 'zoc' needs candidate names: use method=zoc, or another score (score=mcm)."
        raise ConfigError(msg)
    seen, thought_of = (
        torch.logsumexp(inputs.logit_scale * cosines.double(), dim=1)
        for cosines in (inputs.similarity.positive, inputs.candidates)
    )
    return torch.sigmoid(seen - thought_of)
