"""What a run's prompts make of image features: the inputs of every score."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 -- torch's own convention
from torch import Tensor

from negprompt.prompts.similarity import similarity
from negprompt.types import ScoreInputs, Similarity, TextFeatures


class Reader:
    """Compares pictures with encoded prompts.

    Args:
        text: encoded prompts, on the device of the pictures.
        logit_scale: of the backbone.
    """

    def __init__(self, text: TextFeatures, logit_scale: float) -> None:
        self._text = text
        self._logit_scale = logit_scale

    @property
    def device(self) -> torch.device:
        """Where the prompts are, and pictures are wanted."""
        return self._text.positive.device

    def similarity(self, features: Tensor, local: Tensor | None = None) -> Similarity:
        """Cosines of image features (B, D) and those of their regions (B, R, D), neither of unit length."""
        regions = None if local is None else F.normalize(local.float(), dim=-1)
        return similarity(F.normalize(features.float(), dim=-1), *self._text, regions)

    def inputs(self, features: Tensor, local: Tensor | None = None) -> ScoreInputs:
        """What scores look at, of the same features."""
        cosines = self.similarity(features, local)
        return ScoreInputs(cosines, self._logit_scale, features.float(), self._text.positive)

    def candidates(self, features: Tensor) -> Tensor | None:  # noqa: ARG002 -- for methods that propose names
        """Cosines (B, C) to names that are proposed for each picture (`ScoreInputs.candidates`), by default none.

        Args:
            features: of the images (B, D), not of unit length.
        """
        return None
