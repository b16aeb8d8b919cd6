"""Classes shared out over processes: each encodes its part, all get all features, and gradients go back the same way.

Plain data parallelism would encode every prompt on every process. The features are gathered with an autograd function
whose backward pass adds up what all processes want of a feature, so the gradient is right for equal batches on all of
them and for a batch in parts, as long as parameter gradients are averaged (DDP) and each loss is weighted by its share
of the batch times the number of processes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F  # noqa: N812 -- torch's own convention
from torch import Tensor

from negprompt.ranks import rank, world_size


class Share(NamedTuple):
    """Which of K names this process encodes: `rows` (S,); `back` (K,) places the gathered N * S rows in order."""

    rows: Tensor
    back: Tensor


def my_share(lengths: Sequence[int]) -> Share:
    """Share out names so that every process gets as many, and about as many tokens.

    Args:
        lengths: tokens of each of the K names.

    Returns:
        The share of this process. All shares are equally long: where names are too few for that, some are encoded
        twice and dropped after gathering.
    """
    return shares(lengths, world_size())[rank()]


def shares(lengths: Sequence[int], parts: int) -> list[Share]:
    """The shares of all processes, by rank."""
    order = np.argsort(lengths, kind="stable") if parts > 1 else np.arange(len(lengths))
    size = -(-len(order) // parts)
    filled = np.concatenate([order, np.repeat(order[-1:], size * parts - len(order))])
    dealt = filled.reshape(size, parts).T  # like cards, from the shortest name to the longest
    back = np.empty(len(order), dtype=np.int64)
    place = np.arange(size * parts).reshape(parts, size)
    back[dealt.ravel()[::-1]] = place.ravel()[::-1]  # of a name encoded twice the first place counts
    return [Share(torch.from_numpy(rows.copy()), torch.from_numpy(back)) for rows in dealt]


def gather(features: Tensor, share: Share) -> Tensor:
    """Features (S, ...) of this process's share -> those of all K names, in order; differentiable."""
    if world_size() == 1:
        return features
    everything: Tensor = _GatherRows.apply(features)
    return everything[share.back.to(features.device)]


def gather_all(rows: Tensor) -> tuple[Tensor, int]:
    """Rows (B, ...) of each process, under each other in the order of the processes; differentiable.

    Returns:
        All rows, and the place of this process's first. Processes may have different numbers of rows, also none.
    """
    if world_size() == 1:
        return rows, 0
    counts = torch.zeros(world_size(), dtype=torch.long, device=rows.device)
    counts[rank()] = len(rows)
    dist.all_reduce(counts)
    filled = F.pad(rows, (0, 0) * (rows.dim() - 1) + (0, int(counts.max()) - len(rows)))
    everything: Tensor = _GatherRows.apply(filled)
    present = torch.arange(int(counts.max()), device=rows.device) < counts.unsqueeze(1)
    return everything[present.flatten()], int(counts[: rank()].sum())


class _GatherRows(torch.autograd.Function):
    """Rows of all processes under each other; the gradient of a row is the sum of what all processes want of it."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:  # noqa: ANN401, ARG004
        parts = [torch.empty_like(rows) for _ in range(world_size())]
        dist.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # noqa: ANN401, ARG004
        total = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total.chunk(world_size())[rank()]
