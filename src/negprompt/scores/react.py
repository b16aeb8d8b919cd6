"""ReAct (Sun et al., NeurIPS 2021) on CLIP: energy after large image features are cut."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 -- torch's own convention
from torch import Tensor

from negprompt.errors import ConfigError
from negprompt.scores.base import score
from negprompt.types import ScoreInputs


def threshold(features: Tensor, *, percentile: float) -> Tensor:
    """The value that `percentile` per cent of all coordinates of the training pictures' features do not exceed.

    Args:
        features: (N, D), not normalised.
        percentile: in (0, 100]; 100 cuts nothing that training has shown.

    Raises:
        ConfigError: a percentile out of range.

    Example:
        >>> threshold(torch.tensor([[0.0, 1.0], [2.0, 3.0]]), percentile=50.0)
        tensor(1.5000, dtype=torch.float64)
    """
    if not 0 < percentile <= 100:
        msg = f"score.react.percentile={percentile} is not allowed: it is in (0, 100], for example 90."
        raise ConfigError(msg)
    return torch.tensor(np.percentile(features.double().cpu().numpy(), percentile))


@score(fit=threshold)
def react(inputs: ScoreInputs, *, percentile: float = 90.0) -> Tensor:  # noqa: ARG001 -- read by the fit
    """Energy of the logits of features that are cut from above before they are normalised.

    CLIP's features have both signs; only the upper tail is cut. No public script says how the published rows on CLIP
    were made; this is the plain transfer of the method.

    Args:
        inputs: with `image_features` (B, D), `text_features` (K, D) and the threshold in `fitted`.
        percentile: of the training features' coordinates that the threshold is.

    Returns:
        Scores (B,), float64: log of the sum of exp(logit scale * cosine). Higher means more in-distribution.

    Raises:
        ConfigError: the inputs lack features or threshold.

    Example:
        >>> from negprompt.types import Similarity
        >>> pictures, text = torch.tensor([[3.0, 4.0]]), torch.tensor([[1.0, 0.0]])
        >>> react(ScoreInputs(Similarity(pictures @ text.T), 100.0, pictures, text, fitted=torch.tensor(5.0)))
        tensor([60.], dtype=torch.float64)
    """
    if inputs.image_features is None or inputs.text_features is None or inputs.fitted is None:
        msg = "The score 'react' needs image features, text features and its threshold: choose another score=."
        raise ConfigError(msg)
    limit = inputs.fitted.to(inputs.image_features.device).double()
    images = F.normalize(inputs.image_features.double().minimum(limit), dim=1)
    return torch.logsumexp(inputs.logit_scale * images @ inputs.text_features.double().T, dim=1)
