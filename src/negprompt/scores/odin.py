"""ODIN (Liang et al., ICLR 2018) on CLIP: MSP at a high temperature, after a step of the pixels towards it."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F  # noqa: N812 -- torch's own convention
from torch import Tensor

from negprompt.errors import ConfigError
from negprompt.scores.base import check_temperature, score
from negprompt.types import Pixels, ScoreInputs


@score(needs={"pixels"})
def odin(inputs: ScoreInputs, *, temperature: float = 1000.0, step_size: float = 0.0014) -> Tensor:
    """Largest softmax share of the logits of pictures that were moved towards the class they look like.

    The step goes along the sign of the gradient (0 counts as +) that lowers the cross entropy of the predicted class,
    by the same amount in every pixel before normalisation. The rows that papers print for ODIN beside CLIP are those of
    a model fine-tuned on all of ImageNet; this one runs on prompts.

    Args:
        inputs: with `pixels`; the cosines are those of the pictures as they are.
        temperature: of the logits, > 0; 1000 is the usual one.
        step_size: of pixels in [0, 1], >= 0; 0.0014 in OpenOOD, 0 in MOS.

    Returns:
        Scores (B,) in [1/K, 1], float64; MSP at this temperature where the step is 0. Higher means more
        in-distribution.

    Raises:
        ConfigError: no pictures, or a setting out of range.

    Example:
        >>> from negprompt.types import Similarity
        >>> def similarity(pixels):
        ...     red = pixels[:, 0].mean(dim=(1, 2))
        ...     return Similarity(torch.stack([red, -red], dim=1))
        >>> picture = torch.full((1, 3, 1, 1), 0.1)
        >>> pixels = Pixels(picture, (1.0, 1.0, 1.0), similarity)
        >>> odin(ScoreInputs(similarity(picture), 10.0, pixels=pixels), temperature=1.0, step_size=0.1)
        tensor([0.9820], dtype=torch.float64)
    """
    check_temperature("odin", temperature)
    if not 0 <= step_size < math.inf:
        msg = f"score.odin.step_size={step_size} is not allowed: a step is a number >= 0, for example 0.0014."
        raise ConfigError(msg)
    if inputs.pixels is None:
        msg = "The score 'odin' needs the pictures themselves: choose another score=."
        raise ConfigError(msg)
    cosines = inputs.similarity.positive
    if step_size > 0:
        with torch.no_grad():
            moved = _moved(inputs.pixels, inputs.logit_scale / temperature, step_size)
            cosines = inputs.pixels.similarity(moved).positive
    return torch.softmax(inputs.logit_scale * cosines.double() / temperature, dim=1).amax(dim=1)


def _moved(pixels: Pixels, scale: float, step_size: float) -> Tensor:
    """Pictures (B, 3, H, W) one step nearer to their predicted class."""
    with torch.enable_grad():
        values = pixels.values.detach().clone().requires_grad_()
        logits = scale * pixels.similarity(values).positive.float()
        # A sum: each picture's gradient is its own, whatever else is in the batch.
        loss = F.cross_entropy(logits, logits.detach().argmax(dim=1), reduction="sum")
        # Its sign alone counts, and at a high temperature half precision would round it to 0.
        (gradient,) = torch.autograd.grad(loss / scale, values)
    std = torch.tensor(pixels.std, device=gradient.device, dtype=gradient.dtype).view(1, 3, 1, 1)
    return pixels.values - step_size * torch.where(gradient >= 0, 1.0, -1.0) / std
