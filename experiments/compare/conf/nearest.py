"""What Fig. 3 of the paper looks at, as two further scores."""

from __future__ import annotations

from torch import Tensor

from negprompt.scores.base import score
from negprompt.types import ScoreInputs


@score()
def nearest_positive(inputs: ScoreInputs) -> Tensor:
    """Largest cosine to a positive prompt (B,)."""
    return inputs.similarity.positive.double().amax(dim=1)


@score(needs={"negative"})
def nearest_negative(inputs: ScoreInputs) -> Tensor:
    """Largest cosine to a negative prompt (B,); no detector by itself, since it is high for both kinds of picture."""
    negative = inputs.similarity.negative
    assert negative is not None
    return negative.double().amax(dim=(1, 2))
