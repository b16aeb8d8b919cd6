"""Attention of packed names to a shared prefix and to themselves, with a backward pass of its own.

Library attention would need the prefix's keys and values copied for every name: for a context of 16 tokens and names
of 3 that is more memory than all else in the layer. Here the prefix enters two products over all T tokens at once, each
name's own few tokens enter small ones by length, and one softmax runs over both. The weights kept for the backward pass
are (m + s) numbers a token and head, a fiftieth of what the layer keeps otherwise.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

_NEVER = float("-inf")
_FEW_TOKENS = 4096
"""Up to so many tokens, names are filled up to the longest for the attention alone: one call instead of one a length,
where the calls cost more than the tokens. What is filled in stands behind the end token, so nothing sees it."""


class _Group(NamedTuple):
    """Consecutive names of one length."""

    tokens: slice
    names: int
    length: int


def suffix_attention(mixed: Tensor, prefix_keys: Tensor, prefix_values: Tensor, lengths: Sequence[int]) -> Tensor:
    """Softmax attention of every token to the prefix and to the tokens of its own name up to itself.

    Args:
        mixed: queries, keys and values of the packed names (P, T, 3 d).
        prefix_keys: (P, H, m, d / H).
        prefix_values: (P, H, m, d / H).
        lengths: of the names, in their order; equal ones side by side, sum T.

    Returns:
        (P, T, d), differentiable once with respect to all three tensors.
    """
    lengths, longest = tuple(lengths), max(lengths)
    if min(lengths) < longest and len(mixed) * len(lengths) * longest <= _FEW_TOKENS:
        places = _padded_places(lengths, mixed.device)
        padded = mixed.new_zeros(len(mixed), len(lengths) * longest, mixed.shape[2]).index_copy(1, places, mixed)
        return _attention(padded, prefix_keys, prefix_values, (longest,) * len(lengths)).index_select(1, places)
    return _attention(mixed, prefix_keys, prefix_values, lengths)


def _attention(mixed: Tensor, keys: Tensor, values: Tensor, lengths: tuple[int, ...]) -> Tensor:
    attended: Tensor = _SuffixAttention.apply(mixed, keys, values, _groups(lengths))
    return attended


@functools.lru_cache(maxsize=64)
def _padded_places(lengths: tuple[int, ...], device: torch.device) -> Tensor:
    """Where the packed tokens stand when every name is as long as the longest."""
    longest = max(lengths)
    with torch.inference_mode(
        mode=False
    ):  # an evaluation may ask first, and a training then keeps it for its gradients
        kept = torch.arange(longest) < torch.tensor(lengths).unsqueeze(1)
        return kept.flatten().nonzero().flatten().to(device)


@functools.lru_cache(maxsize=64)
def _groups(lengths: tuple[int, ...]) -> tuple[_Group, ...]:
    groups: list[_Group] = []
    start = 0
    for length, names in itertools.groupby(lengths):
        count = len(list(names))
        groups.append(_Group(slice(start, start + count * length), count, length))
        start += count * length
    return tuple(groups)


class _SuffixAttention(torch.autograd.Function):
    """Saves its inputs and the weights; everything runs in the inputs' precision, the softmax at least in float32."""

    @staticmethod
    def forward(ctx: Any, mixed: Tensor, keys: Tensor, values: Tensor, groups: tuple[_Group, ...]) -> Tensor:  # noqa: ANN401
        with torch.autocast(mixed.device.type, enabled=False):
            keys, values = keys.to(mixed.dtype), values.to(mixed.dtype)
            exact = torch.promote_types(mixed.dtype, torch.float32)
            queries, own_keys, own_values = by_head(mixed, keys.shape[1])
            logits = queries @ (keys * _scale(keys)).transpose(2, 3)  # (P, H, T, m)
            prefix_weights, own_weights = torch.empty_like(logits), []
            attended = torch.empty_like(queries)
            for group in groups:
                query, key, value = (_by_name(part, group) for part in (queries, own_keys, own_values))
                own = torch.bmm(query, key.transpose(1, 2)) * _scale(keys)
                own.masked_fill_(_later(group.length, own.device), _NEVER)
                both = torch.cat([_by_name(logits, group), own], dim=-1).softmax(-1, exact).to(own.dtype)
                _put(prefix_weights, group, both[..., : keys.shape[2]])
                own = both[..., keys.shape[2] :].contiguous()
                _put(attended, group, torch.bmm(own, value))
                own_weights.append(own)
            attended += prefix_weights @ values
        ctx.groups = groups
        ctx.save_for_backward(mixed, keys, values, prefix_weights, *own_weights)
        return attended.transpose(1, 2).flatten(2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:  # noqa: ANN401
        mixed, keys, values, prefix_weights, *own_weights = ctx.saved_tensors
        queries, own_keys, own_values = by_head(mixed, keys.shape[1])
        wanted = (
            gradient.to(mixed.dtype).reshape(*gradient.shape[:2], keys.shape[1], -1).transpose(1, 2)
        )  # (P, H, T, d/H)
        to_prefix = wanted @ values.transpose(2, 3)  # gradient of the prefix weights (P, H, T, m)
        result = torch.empty_like(mixed)
        to_queries, to_keys, to_values = by_head(result, keys.shape[1])
        for group, own in zip(ctx.groups, own_weights, strict=True):
            asked, here, prefix = (_by_name(part, group) for part in (wanted, to_prefix, prefix_weights))
            query, key, value = (_by_name(part, group) for part in (queries, own_keys, own_values))
            to_own = torch.bmm(asked, value.transpose(1, 2))
            mean = (here * prefix).sum(-1, keepdim=True) + (to_own * own).sum(-1, keepdim=True)
            to_own = own * (to_own - mean) * _scale(keys)
            _put(to_prefix, group, prefix * (here - mean) * _scale(keys))
            _put(to_values, group, torch.bmm(own.transpose(1, 2), asked))
            _put(to_keys, group, torch.bmm(to_own.transpose(1, 2), query))
            _put(to_queries, group, torch.bmm(to_own, key))
        to_queries += to_prefix @ keys
        return result, to_prefix.transpose(2, 3) @ queries, prefix_weights.transpose(2, 3) @ wanted, None


def by_head(mixed: Tensor, heads: int) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values (P, H, T, d / H), views of (P, T, 3 d)."""
    queries, keys, values = mixed.view(*mixed.shape[:2], 3, heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
    return queries, keys, values


def _by_name(tokens: Tensor, group: _Group) -> Tensor:
    """The group's part of (P, H, T, ...) as (P * H * names, length, ...).

    A copy: strided matrices would be multiplied one by one, three times slower.
    """
    part = tokens[:, :, group.tokens]
    return part.reshape(-1, group.length, tokens.shape[3]).contiguous()


def _put(tokens: Tensor, group: _Group, part: Tensor) -> None:
    """Write (P * H * names, length, ...) back into the group's part of (P, H, T, ...)."""
    where = tokens[:, :, group.tokens]
    where.copy_(part.reshape(where.shape))


@functools.cache
def _later(length: int, device: torch.device) -> Tensor:
    """True where a key stands behind the query, (length, length)."""
    with torch.inference_mode(mode=False):
        return torch.ones(length, length, dtype=torch.bool, device=device).triu_(1)


def _scale(keys: Tensor) -> float:
    return 1 / math.sqrt(keys.shape[-1])
