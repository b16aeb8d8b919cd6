"""Imported prompts -> a prompt bundle: the same contexts, and what is known of them."""

from __future__ import annotations

import logging
from typing import Literal, NamedTuple

from torch import Tensor

from negprompt.backbones.base import FrozenBackbone
from negprompt.prompts.bundle import class_names_sha256
from negprompt.prompts.importers.base import ForeignPrompts
from negprompt.prompts.importers.formats import Source
from negprompt.prompts.template import PromptLayout
from negprompt.types import PromptBundle

log = logging.getLogger(__name__)

Negatives = Literal["auto", "keep", "drop"]


class Training(NamedTuple):
    """What the user and the file say of the training; `class_names` is empty where they are not known."""

    class_names: tuple[str, ...]
    seed: int
    num_shots: int
    class_fraction: float


def choose_negatives(prompts: ForeignPrompts, choice: Negatives) -> ForeignPrompts:
    """Leave out negatives that were never trained: what is left is CoOp's.

    Args:
        prompts: from the file.
        choice: `auto` leaves out those that are all equal, as stage 1 of the released code stores them; `keep`; `drop`.
    """
    negative = prompts.negative
    if negative is None or choice == "keep":
        return prompts
    if choice == "auto":
        if not are_copies(negative):
            return prompts
        log.warning(
            "The %d negatives of a class are one context: stage 1 stores them so and trains the positive one only. "
            "They are left out; negatives=keep keeps them.",
            negative.shape[-3],
        )
    return prompts._replace(negative=None, method="coop")


def are_copies(negative: Tensor) -> bool:
    """Whether negatives (P, n, d) or (K, P, n, d) are P > 1 equal contexts."""
    return negative.shape[-3] > 1 and bool((negative == negative.narrow(-3, 0, 1)).all())


def to_bundle(
    prompts: ForeignPrompts,
    source: Source,
    layout: PromptLayout,
    training: Training,
    backbone: FrozenBackbone,
    schema: int,
) -> PromptBundle:
    """The bundle of imported prompts; equal files and settings give equal bytes.

    Args:
        prompts: their contexts are taken as they are.
        source: the file.
        layout: how prompts are put together.
        training: what they were trained on.
        backbone: what they were trained with.
        schema: number of the result format.
    """
    names = training.class_names
    metadata = {
        "schema": schema,
        "run": f"imported-{source.sha256[:8]}",
        "method": prompts.method,
        "backbone": backbone.name,
        "backbone_tag": backbone.tag,
        "weights_sha256": backbone.weights_sha256(),
        "class_token_position": layout.class_token_position,
        "full_stop": layout.full_stop,
        "class_names_sha256": class_names_sha256(names) if names else None,
        "train_class_names": list(names),
        "split_sha256": None,
        "seed": training.seed,
        "num_shots": training.num_shots,
        "class_fraction": training.class_fraction,
        "positive_prompts": None,
        "steps": 0,
        "imported_from": source._asdict(),
    }
    return PromptBundle(prompts.positive, prompts.negative, metadata)
