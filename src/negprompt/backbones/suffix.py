"""Prompts that begin alike under a causal mask: the beginning once, every name only for its own tokens.

The prefix `[start] context` is the same for all classes and cannot see what follows, so its keys and values in every
layer are computed once for each context. The names are packed without padding, shortest first; each of their tokens
attends to the prefix and to the tokens of its own name before it.

Axes: P contexts, m tokens of the prefix, K names, T tokens of all names, H heads, d width.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812 -- torch's own convention
from torch import Tensor

from negprompt.backbones.suffix_attention import by_head, suffix_attention
from negprompt.types import NO_SLOT, PromptTokens

KeysValues = tuple[Tensor, Tensor]
"""Keys and values of the prefix in one layer, each (P, H, m, d / H)."""


class TextLayer(NamedTuple):
    """A pre-norm residual block taken apart around its attention; hidden states are (..., d).

    `queries_keys_values` -> (..., 3 d), norm included; `output` of attention -> what is added to the stream;
    `feed_forward` -> what is added to the stream, norm included.
    """

    heads: int
    queries_keys_values: Callable[[Tensor], Tensor]
    output: Callable[[Tensor], Tensor]
    feed_forward: Callable[[Tensor], Tensor]


class PackedNames(NamedTuple):
    """What follows the shared prefix: name, full stop if any, end token; without padding, shortest first.

    `start` (1,) the start token; `tokens` (T,) ids; `offsets` (T,) place behind the prefix; `lengths` of the K names,
    ascending; `back` (K,): where each class stands in this order; `prefix_length` m.
    """

    start: Tensor
    tokens: Tensor
    offsets: Tensor
    lengths: tuple[int, ...]
    first_token: tuple[int, ...]
    back: Tensor
    prefix_length: int

    def token_slice(self, names: slice) -> slice:
        """Where the tokens of consecutive names lie."""
        return slice(self.first_token[names.start], self.first_token[names.stop])


def pack_names(prompts: PromptTokens) -> PackedNames:
    """Pack the tokens behind `[start] context`, sorted by length (stable, so equal names keep their order).

    Args:
        prompts: K sequences whose context stands right after the start token.
    """
    prefix_length = int((prompts.slots[0] != NO_SLOT).sum()) + 1
    lengths = prompts.end_positions + 1 - prefix_length
    order = torch.argsort(lengths, stable=True)
    lengths = lengths[order]
    places = torch.arange(int(lengths.max()))
    kept = places < lengths.unsqueeze(1)
    behind = prompts.tokens[order, prefix_length : prefix_length + len(places)]
    return PackedNames(
        start=prompts.tokens[:1, 0],
        tokens=behind[kept],
        offsets=places.expand_as(kept)[kept],
        lengths=tuple(lengths.tolist()),
        first_token=(0, *itertools.accumulate(lengths.tolist())),
        back=torch.argsort(order),
        prefix_length=prefix_length,
    )


def encode_prefix(layers: Sequence[TextLayer], hidden: Tensor) -> list[KeysValues]:
    """Keys and values of the prefixes in every layer.

    Args:
        layers: of the text tower.
        hidden: embeddings with positions (P, m, d).
    """
    found: list[KeysValues] = []
    for depth, layer in enumerate(layers, start=1):
        mixed = layer.queries_keys_values(hidden)
        queries, keys, values = by_head(mixed, layer.heads)
        found.append((keys, values))
        if depth < len(layers):  # nothing reads the last layer's output of the prefix
            attended = F.scaled_dot_product_attention(queries, keys, values, is_causal=True)
            hidden = hidden + layer.output(attended.transpose(1, 2).flatten(2))
            hidden = hidden + layer.feed_forward(hidden)
    return found


def encode_names(
    layers: Sequence[TextLayer], hidden: Tensor, prefix: Sequence[KeysValues], lengths: Sequence[int]
) -> Tensor:
    """Hidden states of the end tokens after the last layer.

    Args:
        layers: of the text tower.
        hidden: embeddings with positions of the packed names (P, T, d).
        prefix: keys and values in every layer.
        lengths: of the K names, ascending.

    Returns:
        (P, K, d).
    """
    ends = torch.tensor(list(itertools.accumulate(lengths)), device=hidden.device) - 1
    for depth, (layer, keys_values) in enumerate(zip(layers, prefix, strict=True), start=1):
        mixed = layer.queries_keys_values(hidden)
        attended = suffix_attention(mixed, *keys_values, lengths)
        if depth == len(layers):  # only the end tokens are read out
            attended, hidden = attended[:, ends], hidden[:, ends]
        hidden = hidden + layer.output(attended)
        hidden = hidden + layer.feed_forward(hidden)
    return hidden
