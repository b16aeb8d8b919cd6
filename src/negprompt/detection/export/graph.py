"""A detector as one graph: pixels in, class, score and verdict out, with everything learned as constants."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from negprompt.detection.calibration import Calibration, threshold
from negprompt.detection.loading import Loaded
from negprompt.detection.readers import reader_of
from negprompt.errors import ConfigError
from negprompt.prompts.looking import score_inputs
from negprompt.scores.base import NEEDS
from negprompt.scores.choice import ScoreChoice
from negprompt.types import Batch, ScoreInputs

IN_GRAPH = frozenset({"negative", "no_text", "local"})
"""What a score may need (keys of `scores.base.NEEDS`) in a graph; others take gradients, or write captions."""

INPUT = "image"
OUTPUTS = {
    "similarity": "(B, K) float32: cosines to the positive prompt of each class",
    "label": "(B,) int64: the class with the largest cosine",
    "score": "(B,) float64: higher is more in-distribution",
    "p_value": "(B,) float64: (1 + calibration scores that are not above the score) / (n + 1)",
    "is_ood": "(B,) bool: score below the threshold, which is p_value <= alpha",
    "nearest_negative": "(B,) int64: the class of the negative prompt with the largest cosine",
}
"""Outputs of a graph in their order; those of a calibration and of negative prompts are there where these are."""


class Threshold(NamedTuple):
    """Where a detector says "out of distribution": p-values of a calibration at most `alpha`, which it can promise."""

    calibration: Calibration
    alpha: float

    @property
    def value(self) -> float:
        """The score below which a picture is OOD: the same verdict."""
        return threshold(self.calibration, self.alpha)


class DetectorGraph(nn.Module):
    """Pictures (B, 3, size, size) float32 in [0, 1] -> the outputs that `names` lists, in that order.

    Mean and std are taken inside. The text tower is not needed any more: text features are constants.

    Args:
        loaded: backbone, prompts, class names and score; all is made on the backbone's device.
        level: None without a calibration: there is then no p-value and no verdict.

    Raises:
        ConfigError: a score that cannot be part of a graph.
        PromptMismatchError: prompts that do not fit the backbone or the names.
    """

    def __init__(self, loaded: Loaded, level: Threshold | None = None) -> None:
        super().__init__()
        check_score(loaded.score_name, loaded.score)
        self.backbone = loaded.backbone
        spec, device = self.backbone.image_spec, next(self.backbone.parameters()).device
        self.size = spec.size
        self._reader = reader_of(loaded.learned, self.backbone, loaded.class_names)
        self._score = loaded.score
        self._mean, self._std = (torch.tensor(value, device=device).view(1, 3, 1, 1) for value in (spec.mean, spec.std))
        self._calibration = None if level is None else torch.as_tensor(level.calibration.scores, device=device)
        self._below = None if level is None else level.value
        self.eval()
        with torch.no_grad():
            self.names = tuple(self.answers(torch.zeros(1, 3, self.size, self.size, device=device)))

    @property
    def device(self) -> torch.device:
        """Where pictures are wanted."""
        return self._mean.device

    def inputs(self, image: Tensor) -> ScoreInputs:
        """What the score looks at, of a batch."""
        batch = Batch(image=(image - self._mean) / self._std)
        return score_inputs(self._reader, self.backbone, batch, self._score.needs)

    def verdict(self, score: Tensor) -> dict[str, Tensor]:
        """P-value and verdict of scores (B,), nothing without a threshold."""
        if self._calibration is None or self._below is None:
            return {}
        not_above = (self._calibration <= score.unsqueeze(1)).sum(dim=1)
        p_value = (1 + not_above).double() / (self._calibration.shape[0] + 1)
        return {"p_value": p_value, "is_ood": score < self._below}

    def answers(self, image: Tensor) -> dict[str, Tensor]:
        """Outputs of a batch by name."""
        inputs = self.inputs(image)
        positive, negative, _ = inputs.similarity
        score = self._score.function(inputs).double()
        outputs = {"similarity": positive, "label": positive.argmax(dim=1), "score": score, **self.verdict(score)}
        if negative is not None:
            outputs["nearest_negative"] = negative.amax(dim=2).argmax(dim=1)
        return outputs

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Outputs of a batch, in the order of `names`."""
        return tuple(self.answers(image).values())


def check_score(name: str, score: ScoreChoice) -> None:
    """Refuse a score that needs more than a graph has.

    Raises:
        ConfigError: names what it needs, and scores that do not.
    """
    lacking = sorted(score.needs - IN_GRAPH)
    if lacking:
        words = " and ".join(NEEDS[need] for need in lacking)
        msg = (
            f"score={name} cannot be exported: it needs {words}, and a file only has what follows from one pass of the "
            "image tower. Choose another score, such as mcm, max_logit, energy, msp, or the method's own."
        )
        raise ConfigError(msg)
