"""What both scores of CLIPN start from: "yes" against "no", class by class."""

from __future__ import annotations

import torch
from torch import Tensor

from negprompt.errors import ConfigError
from negprompt.types import ScoreInputs


def yes_shares(score_name: str, inputs: ScoreInputs) -> Tensor:
    """Softmax share (B, K) of each class's "yes" logit against its "no" logit, float64.

    Args:
        score_name: for the message.
        inputs: cosines to "yes" prompts (B, K) and to "no" prompts (B, K, 1).

    Raises:
        ConfigError: there are no "no" prompts.
    """
    no = inputs.similarity.negative
    if no is None:
        msg = f'The score {score_name!r} needs "no" prompts: use method=clipn, or another score (score=mcm).'
        raise ConfigError(msg)
    return torch.sigmoid(inputs.logit_scale * (inputs.similarity.positive.double() - no.double().squeeze(2)))
