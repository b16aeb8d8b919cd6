"""Chunks of classes: activations of one chunk at a time, computed again in the backward pass.

Each chunk is a checkpoint, so that a training step keeps its text features and nothing else; the result is the same.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Annotated, Literal

import numpy as np
import torch
from pydantic import PlainValidator
from pydantic_core import PydanticCustomError
from torch import Tensor
from torch.utils.checkpoint import checkpoint


def _checked(value: object) -> object:
    if value in ("auto", "none") or (isinstance(value, int) and not isinstance(value, bool) and value >= 1):
        return value
    kind, message = "text_chunk", "should be auto, none or a number of classes, 1 or more"
    raise PydanticCustomError(kind, message)


TextChunk = Annotated[Literal["auto", "none"] | int, PlainValidator(_checked)]
"""Classes that are encoded at a time."""
Bounds = tuple[slice, ...]

MEMORY_BUDGET = 4 * 2**30
"""Bytes that the activations of one chunk may take with `text_chunk=auto`. A constant, not a share of what is free:
the cut between chunks must not depend on what else runs on the machine."""

_SAVED_FLOATS = 14
"""Numbers a token leaves for the backward pass of one layer, in widths: the input of both norms (2), queries, keys and
values (3), the input of the activation (4), its sigmoid with QuickGELU (4), and what attention adds."""


def chunk_bounds(lengths: Sequence[int], chunk: TextChunk, num_contexts: int, depth: int, width: int) -> Bounds:
    """Where to cut K names into chunks.

    Args:
        lengths: tokens that each name costs.
        chunk: names a chunk, `auto` for a memory budget, `none` for a single chunk.
        num_contexts: P, prompts a name.
        depth: layers of the text tower.
        width: of its hidden states.

    Returns:
        Consecutive slices that cover all names; with `auto` of about equal numbers of tokens.
    """
    total = len(lengths)
    if chunk == "none":
        return (slice(0, total),)
    if chunk != "auto":
        return tuple(slice(start, min(start + chunk, total)) for start in range(0, total, chunk))
    tokens = np.cumsum(lengths)
    pieces = -(-activation_bytes(int(tokens[-1]) * num_contexts, depth, width) // MEMORY_BUDGET)
    targets = tokens[-1] * np.arange(1, pieces) / pieces
    cuts = sorted({0, *(int(np.searchsorted(tokens, target)) + 1 for target in targets), total})
    return tuple(slice(start, stop) for start, stop in itertools.pairwise(cuts))


def activation_bytes(tokens: int, depth: int, width: int) -> int:
    """Memory that a forward pass over `tokens` tokens keeps for its backward pass, float32.

    Example:
        >>> activation_bytes(77_000, depth=12, width=512) / 2**30  # 1,000 prompts of 77 tokens on ViT-B/16
        24.67...
    """
    return tokens * depth * width * _SAVED_FLOATS * 4


def in_chunks(encode: Callable[[slice], Tensor], bounds: Bounds) -> Tensor:
    """Concatenate `encode` over slices of the classes, each a checkpoint where there are several.

    Args:
        encode: rows -> (rows, ...); deterministic, since it runs again in the backward pass.
        bounds: from `chunk_bounds`.
    """
    if len(bounds) == 1:
        return encode(bounds[0])
    return torch.cat([checkpoint(encode, rows, use_reentrant=False, preserve_rng_state=False) for rows in bounds])
