"""The NegPrompt score (Li et al., "Learning Transferable Negative Prompts for OOD Detection", Eq. 3)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from negprompt.errors import ConfigError
from negprompt.scores.base import check_temperature, score
from negprompt.types import ScoreInputs


@score(needs={"negative"}, later={"form"})
def negprompt(
    inputs: ScoreInputs,
    *,
    temperature: float = 1.0,
    form: Literal["positive", "negative", "difference"] = "positive",
) -> Tensor:
    """Largest positive share in a softmax over positive and negative prompts.

    Args:
        inputs: cosines to positives (B, K) and negatives (B, K, P), *not* multiplied by CLIP's logit scale.
        temperature: softmax temperature, > 0; 1.0 is the MCM setting, 0.01 lets the negatives compete sharply.
        form: `positive` is the paper's. The released code has two more: `negative`, minus the largest negative share
            (its `nega`, which it returns with the other sign), and `difference`, the largest positive share minus the
            largest share among the negatives of that class (its `posi_nega`).

    Returns:
        Scores (B,), float64: in (0, 1], [-1, 0) and (-1, 1). Higher means more in-distribution.

    Raises:
        ConfigError: if the run has no negative prompts, or the temperature is not a finite number > 0.

    Example:
        >>> from negprompt.types import Similarity
        >>> cosines = Similarity(torch.tensor([[0.3, 0.2]]), torch.tensor([[[0.1], [0.1]]]))
        >>> negprompt(ScoreInputs(cosines, logit_scale=100.0))
        tensor([0.2823], dtype=torch.float64)
    """
    check_temperature("negprompt", temperature)
    if inputs.similarity.negative is None:
        message = (
            "The score 'negprompt' needs negative prompts and this run has none: "
            "use a method that learns them (method=negprompt) or another score (score=mcm)."
        )
        raise ConfigError(message)
    positive = inputs.similarity.positive.double() / temperature
    negative = inputs.similarity.negative.double() / temperature
    total = torch.logsumexp(torch.cat([positive, negative.flatten(start_dim=1)], dim=1), dim=1)
    nearest = torch.exp(positive.amax(dim=1) - total)
    if form == "positive":
        return nearest
    if form == "negative":
        return -torch.exp(negative.amax(dim=(1, 2)) - total)
    own = negative.amax(dim=2).gather(1, positive.argmax(dim=1, keepdim=True)).squeeze(1)
    return nearest - torch.exp(own - total)
