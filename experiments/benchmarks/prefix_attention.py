"""Attention of names to a shared prefix: our function against library attention on a copy of the prefix for each name.

    python experiments/benchmarks/prefix_attention.py

A prefix of 17 tokens is a context of 16, one of 5 a context of 4.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence

import common
import open_clip
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from negprompt.backbones.suffix_attention import suffix_attention

WIDTH, HEADS = 512, 8
Attention = Callable[[Tensor, Tensor, Tensor, Sequence[int]], Tensor]


def copied_prefix(mixed: Tensor, keys: Tensor, values: Tensor, lengths: Sequence[int]) -> Tensor:
    """Library attention, the names of one length in one call."""
    parts, start = [], 0
    contexts, _, prefix, _ = keys.shape
    for length, names in itertools.groupby(lengths):
        count = len(list(names))
        tokens = mixed[:, start : start + count * length]
        start += count * length
        q, k, v = tokens.reshape(contexts, count, length, 3, HEADS, -1).permute(3, 0, 1, 4, 2, 5)
        k, v = (
            torch.cat([shared.unsqueeze(1).expand(-1, count, -1, -1, -1), own], dim=3)
            for shared, own in ((keys, k), (values, v))
        )
        mask = torch.ones(length, prefix + length, dtype=torch.bool).tril(prefix)
        attended = F.scaled_dot_product_attention(q.flatten(0, 1), k.flatten(0, 1), v.flatten(0, 1), attn_mask=mask)
        parts.append(attended.transpose(1, 2).reshape(contexts, count * length, -1))
    return torch.cat(parts, dim=1)


def seconds_and_bytes(attention: Attention, leaves: list[Tensor], lengths: Sequence[int]) -> tuple[float, int]:
    """Seconds of forward and backward, and bytes kept in between."""
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept.setdefault(tensor.untyped_storage().data_ptr(), tensor.untyped_storage().nbytes())
        return tensor

    start = time.perf_counter()
    with saved_tensors_hooks(keep, lambda tensor: tensor):
        attended = attention(*leaves, lengths)
    torch.autograd.grad(attended.sum(), leaves)
    return time.perf_counter() - start, sum(kept.values())


def compare(prefix: int, rounds: int) -> dict[str, object]:
    """One line of the table."""
    tokenize = open_clip.SimpleTokenizer().encode
    lengths = sorted(len(tokenize(name)) + 1 for name in open_clip.IMAGENET_CLASSNAMES)
    generator = torch.Generator().manual_seed(0)
    shapes = [(1, sum(lengths), 3 * WIDTH), *[(1, HEADS, prefix, WIDTH // HEADS)] * 2]
    leaves = [torch.randn(shape, generator=generator).requires_grad_() for shape in shapes]
    seconds: dict[str, list[float]] = {"ours": [], "library": []}
    kept = {}
    for turn in range(rounds + 1):
        for name, attention in (("ours", suffix_attention), ("library", copied_prefix)):
            elapsed, kept[name] = seconds_and_bytes(attention, leaves, lengths)
            if turn > 0:  # the first round warms up
                seconds[name].append(elapsed)
    return {
        "attention": "library / ours",
        "tokens of the prefix": prefix,
        "time": common.ratio(seconds["library"], seconds["ours"]),
        "memory kept": kept["library"] / kept["ours"],
    }


def main() -> None:
    """Measure and write the table."""
    options = common.checked(common.parser(__doc__))
    notes = [
        "One layer's attention of the 1,000 ImageNet names (width 512, 8 heads), forward and backward",
        f"Time: median (lowest-highest) of {options.rounds} rounds, both in turn in one process; memory: bytes that "
        "autograd keeps for the backward pass, inputs included",
    ]
    rows = [compare(prefix, options.rounds) for prefix in (17, 5)]
    common.write("prefix_attention", "Attention to a shared prefix", rows, notes, options)


if __name__ == "__main__":
    main()
