"""What shows how learned negatives are doing: numbers for the curves, a warning when they have collapsed."""

from __future__ import annotations

import logging

import torch
from torch import Tensor

from negprompt.objectives.negprompt import LossTerms, nis_floor
from negprompt.prompts.spread import cosine_across_classes, cosine_within_class
from negprompt.types import Similarity

log = logging.getLogger(__name__)

_ONE_DIRECTION = 0.98
"""Mean cosine between negatives of different classes, or of one class, above which they count as collapsed."""


@torch.no_grad()
def diagnostics(cosines: Similarity, text: Tensor, terms: LossTerms, nis: str) -> dict[str, Tensor]:
    """Loss terms and what shows a collapse: NIS above its floor, how ID pictures see both kinds of prompts.

    Args:
        cosines: of a batch.
        text: features of the negatives (K, P, D).
        terms: of the loss.
        nis: form of NIS.
    """
    values = {name: term.detach() for name, term in terms._asdict().items()}
    if nis == "negatives_uniform":
        values["nis_above_floor"] = values["nis"] - nis_floor(*text.shape[:2])
    if cosines.negative is not None:
        values["similarity_negative"] = cosines.negative.flatten(1).amax(1).mean()
    values["similarity_positive"] = cosines.positive.amax(1).mean()
    values["negatives_across_classes"] = cosine_across_classes(text)
    return values


@torch.no_grad()
def warn_of_collapse(text: Tensor) -> None:
    """Say so where negatives (K, P, D) of different classes, or of one class, have become one direction."""
    across = float(cosine_across_classes(text))
    if across > _ONE_DIRECTION:
        log.warning(
            "The negative prompts collapsed: those of different classes have mean cosine %.3f (1 = one direction). "
            "Try method.nis=multilabel_margin, a larger method.nnd_weight or a larger method.negative_noise.",
            across,
        )
    within = float(cosine_within_class(text))
    if within > _ONE_DIRECTION:
        log.warning(
            "The %d negatives of a class are still one prompt (mean cosine %.3f): they started equal and nothing "
            "drove them apart. Try a larger method.negative_noise or method.nnd_weight.",
            text.shape[1],
            within,
        )
