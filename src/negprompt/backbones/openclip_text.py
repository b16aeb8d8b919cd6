"""What is inside open_clip's text towers, taken apart for `backbones/text.py`. Knows their classes by name only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 -- torch's own convention
from torch import Tensor, nn

from negprompt.backbones.suffix import TextLayer
from negprompt.backbones.text import CausalParts, TextTower
from negprompt.errors import BackboneError

_KNOWN_BLOCK = "ResidualAttentionBlock"
_VOCABULARY = 49408
"""Of open_clip's own byte-pair tokenizer."""


def text_module(model: nn.Module, tag: str) -> Any:  # noqa: ANN401 -- open_clip's classes share no base
    """The module that holds the text tower's parts: the CLIP itself, or `.text` of a CustomTextCLIP.

    Raises:
        BackboneError: no token table, or one of another tokenizer.
    """
    text = getattr(model, "text", model)
    table = getattr(text, "token_embedding", None)
    if table is None or len(table.weight) < _VOCABULARY:
        reason = "has no token table" if table is None else "has a tokenizer of its own"
        msg = (
            f"The text tower of {tag} {reason}: learned prompts need open_clip's transformer and its byte-pair "
            "tokenizer. Choose a CLIP model such as ViT-B-16."
        )
        raise BackboneError(msg)
    return text


def text_tower(text: Any, encode_text: Callable[[Tensor], Tensor], obstacle: str) -> TextTower:  # noqa: ANN401
    """Take a text tower apart.

    Args:
        text: from `text_module`.
        encode_text: the model's own, token ids (N, 77) -> features (N, D).
        obstacle: from `not_causal`, which looks at the whole mask: once for a backbone, not at every step.
    """

    def whole(embeddings: Tensor, tokens: Tensor) -> Tensor:
        handle = text.token_embedding.register_forward_hook(lambda *_: embeddings)
        try:
            return encode_text(tokens)
        finally:
            handle.remove()

    blocks = text.transformer.resblocks
    return TextTower(
        embed=text.token_embedding,
        whole=whole,
        context_length=text.context_length,
        depth=len(blocks),
        width=text.token_embedding.weight.shape[1],
        causal=None if obstacle else _causal_parts(text),
        not_causal=obstacle,
    )


def not_causal(text: Any) -> str:  # noqa: ANN401
    """Why tokens behind the end token may count, empty where they cannot."""
    mask = text.attn_mask
    if mask is None:
        return "the text tower has no causal mask"
    if not torch.equal(mask, torch.full_like(mask, float("-inf")).triu_(1)):
        return "the text tower's mask is not the causal one"
    if getattr(text, "cls_emb", None) is not None:
        return "the text tower reads out a class token behind the end token"
    pool = getattr(text, "text_pool_type", None) or getattr(text, "pool_type", "argmax")
    return "" if pool == "argmax" else f"the text tower does not read out the end token (pooling {pool!r})"


def _causal_parts(text: Any) -> CausalParts:  # noqa: ANN401
    layers, unknown = _layers(text.transformer.resblocks)
    return CausalParts(
        blocks=lambda hidden, mask: text.transformer(hidden, attn_mask=mask),
        positions=text.positional_embedding,
        mask=text.attn_mask,
        read_out=lambda hidden: _project(text.ln_final(hidden), text.text_projection),
        layers=layers,
        unknown=unknown,
    )


def _layers(blocks: Any) -> tuple[tuple[TextLayer, ...] | None, str]:  # noqa: ANN401
    """The blocks taken apart, or None and what is unknown about them."""
    for block in blocks:
        if type(block).__name__ != _KNOWN_BLOCK:
            return None, f"the inside of {type(block).__name__} is not known"
        attention = block.attn
        plain = type(attention) is nn.MultiheadAttention and attention.in_proj_weight is not None
        if not plain or attention.bias_k is not None or attention.add_zero_attn:
            return None, "the text tower's attention is not the plain one"
    return tuple(_layer(block) for block in blocks), ""


def _layer(block: Any) -> TextLayer:  # noqa: ANN401
    attention = block.attn
    return TextLayer(
        heads=attention.num_heads,
        queries_keys_values=lambda hidden: F.linear(
            block.ln_1(hidden), attention.in_proj_weight, attention.in_proj_bias
        ),
        output=lambda attended: block.ls_1(attention.out_proj(attended)),
        feed_forward=lambda hidden: block.ls_2(block.mlp(block.ln_2(hidden))),
    )


def _project(hidden: Tensor, projection: Tensor | nn.Linear | None) -> Tensor:
    if projection is None:
        return hidden
    return projection(hidden) if isinstance(projection, nn.Linear) else hidden @ projection


def readable_tokens(tokenizer: Any) -> dict[int, str]:  # noqa: ANN401 -- open_clip's own class
    """Every token of open_clip's byte-pair vocabulary as text: words without their mark, parts of a word with a hyphen.

    Args:
        tokenizer: open_clip's SimpleTokenizer.
    """
    special = tokenizer.all_special_ids
    texts = {token: tokenizer.decode([token]) for token in tokenizer.decoder}
    return {
        token: text if token in special else text.removesuffix(" ") if text.endswith(" ") else f"{text}-"
        for token, text in texts.items()
    }
