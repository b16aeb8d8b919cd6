"""Where context vectors start: words, noise, or the positive context that negatives resemble."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from negprompt.backbones.base import FrozenBackbone
from negprompt.errors import ConfigError

ContextInit = Literal["auto", "words", "random"]
NegativeInit = Literal["positive_uniform", "positive_normal", "normal"]
RANDOM_STD = 0.02
"""Standard deviation of a random context (CoOp; CLIP's own token table was initialised so)."""


def initial_context(
    backbone: FrozenBackbone,
    num_context_tokens: int,
    init: ContextInit,
    words: str,
    seed: int,
    num_classes: int | None = None,
) -> Tensor:
    """Start of the positive context (method: CoOp).

    Args:
        backbone: gives token embeddings and their width d.
        num_context_tokens: n.
        init: `words` = embeddings of `words`; `random` = N(0, 0.02^2); `auto` = words where they are n tokens.
        words: for example "a photo of a".
        seed: of the noise.
        num_classes: K for class-specific contexts, None for a shared one.

    Returns:
        Float32 context (n, d), or (K, n, d).

    Raises:
        ConfigError: `init=words` and the words are not exactly n tokens.
    """
    ids = backbone.tokenize(words)
    if init == "words" and len(ids) != num_context_tokens:
        msg = (
            f"method.context_words={words!r} are {len(ids)} tokens and method.num_context_tokens is "
            f"{num_context_tokens}: make them equal or set method.context_init=random."
        )
        raise ConfigError(msg)
    shape = (num_context_tokens,) if num_classes is None else (num_classes, num_context_tokens)
    device = next(backbone.parameters()).device
    with torch.no_grad():
        table_rows = backbone.embed_tokens(torch.tensor(ids, dtype=torch.long, device=device)).float().cpu()
    if init == "random" or len(ids) != num_context_tokens:
        generator = torch.Generator().manual_seed(seed)
        return RANDOM_STD * torch.randn((*shape, table_rows.shape[-1]), generator=generator)
    return table_rows.expand(*shape, -1).clone()


def initial_negative_context(
    positive: Tensor, num_negatives: int, init: NegativeInit, noise: float, seed: int
) -> Tensor:
    """Start of the negative context (NegPrompt; the paper is silent, its code uses `positive_uniform` with 1e-5).

    Args:
        positive: learned positive context (n, d) or (K, n, d).
        num_negatives: P.
        init: `positive_uniform` = positive + U(-noise, noise); `positive_normal` = positive + N(0, noise^2);
            `normal` = N(0, noise^2) without the positive context.
        noise: amplitude. Negatives that start equal stay equal: their mean cosine is stationary there.
        seed: of the noise.

    Returns:
        Float32 context (P, n, d), or (K, P, n, d).
    """
    generator = torch.Generator().manual_seed(seed)
    start = positive.detach().float().cpu().unsqueeze(-3)
    shape = (*start.shape[:-3], num_negatives, *start.shape[-2:])
    if init == "positive_uniform":
        return start + noise * (2 * torch.rand(shape, generator=generator) - 1)
    gaussian = noise * torch.randn(shape, generator=generator)
    return gaussian if init == "normal" else start + gaussian
