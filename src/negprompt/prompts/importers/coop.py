"""Checkpoints of CoOp and LoCoOp: one positive context, shared or one for each class (method: 11)."""

from __future__ import annotations

from functools import partial

from negprompt.errors import PromptMismatchError
from negprompt.prompts.importers.base import ForeignPrompts, Format, State, context, shape, tokens


def read(state: State, method: str) -> ForeignPrompts:
    """`ctx` (n, d) or (K, n, d) with the buffers `token_prefix` (K, 1, d) and `token_suffix` (K, L, d).

    Args:
        state: tensors of the file.
        method: what results call it.

    Raises:
        PromptMismatchError: a tensor is missing or has another shape.
    """
    positive = context(state, "ctx", "[n, d], or [k, n, d] for class-specific contexts", (2, 3))
    width = positive.shape[-1]
    start = tokens(state, "token_prefix", "[k, 1, d]", 3, width)
    rest = tokens(state, "token_suffix", "[k, 76 - n, d]", 3, width)
    for buffer in (start, rest):
        if buffer is not None and positive.dim() == 3 and len(buffer) != len(positive):
            msg = f"ctx is {shape(positive)} and a token buffer {shape(buffer)}: they have other numbers of classes."
            raise PromptMismatchError(msg)
    return ForeignPrompts(method, positive, None, None if start is None else start[:, 0], rest)


COOP = Format("ctx", partial(read, method="coop"), full_stop=True)
LOCOOP = Format("ctx", partial(read, method="locoop"), full_stop=True)
