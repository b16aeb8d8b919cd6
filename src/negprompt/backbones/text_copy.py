"""A second text tower beside a frozen one: a copy of its parts, under the names that open_clip gives them."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from negprompt.backbones.openclip_text import text_tower
from negprompt.backbones.text import TextTower
from negprompt.errors import BackboneError


class TextCopy(nn.Module):
    """Token table, positions, transformer, final norm and projection of a causal text tower, all of them trainable.

    Its state dict has the names of a CLIP's text tower: `token_embedding.weight`, `positional_embedding`,
    `transformer.resblocks.0...`, `ln_final.weight`, `text_projection`.

    Args:
        text: module with those parts (`openclip_text.text_module`).
    """

    attn_mask: Tensor

    def __init__(self, text: Any) -> None:  # noqa: ANN401 -- open_clip's classes share no base
        super().__init__()
        self.context_length: int = text.context_length
        self.token_embedding = copy.deepcopy(text.token_embedding)
        self.positional_embedding = nn.Parameter(text.positional_embedding.detach().clone())
        self.transformer = copy.deepcopy(text.transformer)
        self.ln_final = copy.deepcopy(text.ln_final)
        self.text_projection = copy.deepcopy(text.text_projection)
        self.register_buffer("attn_mask", text.attn_mask.clone(), persistent=False)
        self.requires_grad_(True)

    def tower(self) -> TextTower:
        """Its parts, for `encode_prompts`; gradients pass and reach the weights."""
        return text_tower(self, self._encode_text, "")

    def _encode_text(self, tokens: Tensor) -> Tensor:
        """What the model's own `encode_text` computes."""
        hidden = self.token_embedding(tokens) + self.positional_embedding
        ends = tokens.argmax(dim=1)
        return encode_hidden(self.tower(), hidden, ends)


def encode_hidden(tower: TextTower, hidden: Tensor, end: Tensor) -> Tensor:
    """The transformer on sequences of any length, read out at their end tokens.

    Args:
        tower: a causal one.
        hidden: token embeddings with positions (N, L, d); what follows a sequence's end does not count.
        end: place of the end token (N,).

    Returns:
        Features (N, D), not of unit length.

    Raises:
        BackboneError: the tower is not causal.
    """
    if tower.causal is None:
        msg = f"Sentences are read up to their end, and {tower.not_causal}: choose a backbone such as ViT-B-16."
        raise BackboneError(msg)
    length = hidden.shape[1]
    hidden = tower.causal.blocks(hidden, tower.causal.mask[:length, :length])
    return tower.causal.read_out(hidden[torch.arange(len(hidden), device=hidden.device), end])
