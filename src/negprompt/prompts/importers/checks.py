"""Do imported prompts belong to this backbone and these class names? The token embeddings in their file tell."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import torch
from torch import Tensor

from negprompt.backbones.base import FrozenBackbone
from negprompt.errors import PromptMismatchError
from negprompt.prompts.importers.base import ForeignPrompts, shape
from negprompt.prompts.template import clean_name

log = logging.getLogger(__name__)

_ROUNDING = 0.01
"""Relative difference that storing an embedding in half precision stays far below; two tokens differ by about 1."""

_TRAINED_ON = (
    "set backbone to the CLIP that they were trained on, with its weights (CoOp and LoCoOp use OpenAI's, as "
    "vit_b16_openai, the released NegPrompt code vit_b16_laion2b)"
)


def check_backbone(prompts: ForeignPrompts, backbone: FrozenBackbone) -> None:
    """Compare the width, and the start token's embedding where the file has it.

    Raises:
        PromptMismatchError: they were trained on another backbone or on other weights.
    """
    info = backbone.tokenizer_info
    (ours,) = _embed(backbone, [info.start])
    width = prompts.positive.shape[-1]
    if width != len(ours):
        found = f"The contexts are {shape(prompts.positive)}, {width} wide"
        msg = f"{found}; {backbone.name} takes {len(ours)}: {_TRAINED_ON}."
        raise PromptMismatchError(msg)
    if prompts.start is None:
        log.warning("The file has no token_prefix: whether its prompts were trained on %s is not known.", backbone.name)
        return
    distance = float((prompts.start - ours).norm(dim=-1).max() / ours.norm())
    if not distance <= _ROUNDING:
        msg = (
            f"The start token's embedding in the file is not that of {backbone.name} ({backbone.tag}; they differ by "
            f"{distance:.0%} of its length): the prompts were trained on other weights; {_TRAINED_ON}."
        )
        raise PromptMismatchError(msg)


def matching(rest: Tensor, class_names: Sequence[str], full_stop: bool, backbone: FrozenBackbone) -> list[bool]:
    """Which prompts go on, behind the context, with a class name (and a full stop) and the end token.

    Args:
        rest: stored embeddings of what follows the context, (K, L, d).
        class_names: K names.
        full_stop: whether a full stop follows the name.
        backbone: whose token table they are compared with.
    """
    stop = "." if full_stop else ""
    end = backbone.tokenizer_info.end
    return [
        _equal(stored, _embed(backbone, [*backbone.tokenize(clean_name(name) + stop), end]))
        for stored, name in zip(rest, class_names, strict=True)
    ]


def _equal(stored: Tensor, expected: Tensor) -> bool:
    if len(stored) < len(expected):
        return False
    difference = (stored[: len(expected)] - expected).norm(dim=-1)
    return bool((difference <= _ROUNDING * expected.norm(dim=-1)).all())


@torch.no_grad()
def _embed(backbone: FrozenBackbone, ids: Sequence[int]) -> Tensor:
    device = next(backbone.parameters()).device
    return backbone.embed_tokens(torch.tensor(ids, device=device)).float().cpu()
