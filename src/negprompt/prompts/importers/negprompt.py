"""Checkpoints of the released NegPrompt code: the whole model, of which the two contexts are taken (method: 11)."""

from __future__ import annotations

import torch.nn.functional as F  # noqa: N812 -- torch's own convention
from torch import Tensor

from negprompt.errors import PromptMismatchError
from negprompt.prompts.importers.base import ForeignPrompts, Format, State, context, shape, tokens


def read(state: State) -> ForeignPrompts:
    """`ctx_positive` (1, n, d) or (K, 1, n, d), `ctx_negative` (P, n, d) or (K, P, n, d), buffers (K, 1 + P, L, d).

    A run without negatives stores an empty `ctx_negative`.

    Raises:
        PromptMismatchError: a tensor is missing, has another shape, or does not go with the others.
    """
    stored = context(state, "ctx_positive", "[1, n, d], or [k, 1, n, d] for class-specific contexts", (3, 4))
    if stored.shape[-3] != 1:
        msg = f"ctx_positive is {shape(stored)}: a class has one positive context, [1, n, d] or [k, 1, n, d]."
        raise PromptMismatchError(msg)
    positive = stored.squeeze(-3)
    negative = _negative(state, positive) if "ctx_negative" in state and state["ctx_negative"].numel() > 0 else None
    width = positive.shape[-1]
    start = tokens(state, "token_prefix", "[k, 1 + p, 1, d]", 4, width)
    rest = tokens(state, "token_suffix", "[k, 1 + p, 76 - n, d]", 4, width)
    return ForeignPrompts(
        "coop" if negative is None else "negprompt_official_code",
        positive,
        negative,
        None if start is None else start[:, 0, 0],
        None if rest is None else rest[:, 0],
    )


def _negative(state: State, positive: Tensor) -> Tensor:
    """The negative contexts, as long as the positive one.

    The released code puts rows of zeros before shared negatives that are shorter; nothing else fits its prompts.
    """
    negative = context(state, "ctx_negative", "[p, n, d], or [k, p, n, d] for class-specific contexts", (3, 4))
    short = positive.shape[-2] - negative.shape[-2]
    fits = (
        negative.dim() == positive.dim() + 1
        and negative.shape[-1] == positive.shape[-1]
        and (short == 0 or (short > 0 and positive.dim() == 2))
        and (positive.dim() == 2 or len(negative) == len(positive))
    )
    if not fits:
        msg = (
            f"ctx_positive is {shape(state['ctx_positive'])} and ctx_negative {shape(negative)}: classes and width "
            "must agree, and so must n (shared negatives may be shorter). Take both from one run of the released code."
        )
        raise PromptMismatchError(msg)
    return F.pad(negative, (0, 0, short, 0))


NEGPROMPT = Format("ctx_positive", read, full_stop=False)
