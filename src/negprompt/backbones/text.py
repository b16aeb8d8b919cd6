"""Exact prompt encoding on a frozen text tower. Three paths give the same features and gradients at different cost.

    plain    the model's own `encode_text` on all 77 tokens: any tower;
    cropped  up to the last end token of the prompts, since under a causal mask later tokens cannot reach it;
    shared   `[start] context` stands before every name under a causal mask, so it is computed once for all of them,
             and each name pays for its own tokens only (`backbones/suffix.py`).

All of them run in chunks of classes where the activations of a training step would not fit (`backbones/chunks.py`).
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812 -- torch's own convention
from torch import Tensor

from negprompt.backbones.chunks import Bounds, TextChunk, chunk_bounds, in_chunks
from negprompt.backbones.suffix import PackedNames, TextLayer, encode_names, encode_prefix, pack_names
from negprompt.errors import ConfigError
from negprompt.types import NO_SLOT, PromptTokens

log = logging.getLogger(__name__)

TextPath = Literal["auto", "shared", "cropped", "plain"]


class CausalParts(NamedTuple):
    """A causal text transformer taken apart, for the paths that run less than all of it.

    `blocks` hidden (N, L, d), mask (L, L) -> (N, L, d); `positions` (77, d); `mask` (77, 77) additive;
    `read_out` hidden states at the end token (N, d) -> features (N, D); `layers` None where the inside of a block is
    not known, `unknown` then says what it is.
    """

    blocks: Callable[[Tensor, Tensor], Tensor]
    positions: Tensor
    mask: Tensor
    read_out: Callable[[Tensor], Tensor]
    layers: tuple[TextLayer, ...] | None
    unknown: str = ""


class TextTower(NamedTuple):
    """What encoding needs of a text tower.

    `embed` token ids (..., L) -> rows of the token table (..., L, d); `whole` embeddings (N, L, d) and token ids
    (N, L) -> features (N, D), as the model's own `encode_text` computes them; `causal` None for any other tower,
    `not_causal` then says why; `depth` and `width` of the transformer, for the memory estimate.
    """

    embed: Callable[[Tensor], Tensor]
    whole: Callable[[Tensor, Tensor], Tensor]
    context_length: int
    depth: int
    width: int
    causal: CausalParts | None
    not_causal: str = ""


class TextPlan(NamedTuple):
    """How a set of prompts is encoded: made once, used at every step."""

    path: Literal["shared", "cropped", "plain"]
    prompts: PromptTokens
    names: PackedNames | None
    bounds: Bounds


def plan_prompts(
    tower: TextTower,
    prompts: PromptTokens,
    *,
    class_specific: bool,
    num_contexts: int,
    path: TextPath = "auto",
    chunk: TextChunk = "auto",
) -> TextPlan:
    """Pick the path for a set of prompts, and the chunks of classes it goes in.

    Args:
        tower: the text tower.
        prompts: token sequences of K class names.
        class_specific: whether every class has context vectors of its own.
        num_contexts: P, contexts that each name is encoded with.
        path: `auto` takes the fastest exact one; the others are forced.
        chunk: classes a chunk; `auto` for as many as a memory budget allows, `none` for all at once.

    Raises:
        ConfigError: a forced path that would not be exact on this tower or these prompts.
    """
    obstacles = _obstacles(tower, prompts, class_specific=class_specific)
    fitting = [name for name, obstacle in obstacles.items() if obstacle is None]
    if path != "auto" and path not in fitting:
        msg = f"text_path={path} would not be exact here: {obstacles[path]}. Set text_path=auto or {fitting[0]}."
        raise ConfigError(msg)
    chosen = fitting[0] if path == "auto" else path
    reason = "asked for" if path != "auto" else next((text for text in obstacles.values() if text), "fastest")
    names = pack_names(prompts) if chosen == "shared" else None
    if names is not None:
        lengths = list(names.lengths)
    else:
        longest = tower.context_length if chosen == "plain" else int(prompts.end_positions.max()) + 1
        lengths = [longest] * len(prompts.tokens)
    bounds = chunk_bounds(lengths, chunk, num_contexts, tower.depth, tower.width)
    _announce(chosen, reason, len(bounds))
    return TextPlan(chosen, prompts, names, bounds)  # type: ignore[arg-type]


def encode_prompts(tower: TextTower, plan: TextPlan, context: Tensor) -> Tensor:
    """Encode every class name with every context.

    Args:
        tower: the text tower the plan was made for.
        plan: from `plan_prompts`.
        context: P contexts shared by all classes (P, n, d), or class-specific ones (K, P, n, d).

    Returns:
        Unit text features (K, P, D), float32. Gradients flow to `context`; all paths agree to rounding.
    """
    if plan.names is not None:
        return _shared(tower, plan.names, plan.bounds, context)
    prompts = PromptTokens(*(part.to(context.device) for part in plan.prompts))
    encode = _cropped if plan.path == "cropped" else _plain
    length = int(plan.prompts.end_positions.max()) + 1 if plan.path == "cropped" else tower.context_length

    def part(rows: slice) -> Tensor:
        some = PromptTokens(*(_of_length(field[rows], length) for field in prompts))
        contexts = context.unsqueeze(0) if context.dim() == 3 else context[rows]
        embeddings = insert_context(tower.embed(some.tokens), some.slots, contexts)
        return _unit(encode(tower, embeddings.flatten(0, 1), some, embeddings.shape[1]), embeddings.shape[1])

    return in_chunks(part, plan.bounds)


def insert_context(token_embeddings: Tensor, slots: Tensor, contexts: Tensor) -> Tensor:
    """Put context vectors into their slots.

    Args:
        token_embeddings: rows of the token table (K, L, d).
        slots: index of the context vector at each place (K, L), -1 where the token stays.
        contexts: (1, P, n, d) for all classes, or (K, P, n, d).

    Returns:
        Prompt embeddings (K, P, L, d); gradients flow to `contexts` alone.
    """
    classes, length = slots.shape
    contexts = contexts.expand(classes, -1, -1, -1)
    if contexts.shape[2] == 0:  # whole sentences
        return token_embeddings.unsqueeze(1).expand(-1, contexts.shape[1], -1, -1).to(contexts.dtype)
    index = slots.clamp(min=0)[:, None, :, None].expand(-1, contexts.shape[1], -1, contexts.shape[-1])
    placed = torch.gather(contexts, 2, index)
    is_token = (slots == NO_SLOT).view(classes, 1, length, 1)
    return torch.where(is_token, token_embeddings.unsqueeze(1).to(placed.dtype), placed)


def _obstacles(tower: TextTower, prompts: PromptTokens, *, class_specific: bool) -> dict[str, str | None]:
    """Why a path would not be exact, None where it is; fastest path first."""
    causal = tower.causal
    if causal is None:
        return dict.fromkeys(("shared", "cropped"), tower.not_causal) | {"plain": None}
    shared = None
    if class_specific:
        shared = "every class has a context of its own"
    elif not _starts_with_context(prompts):
        shared = "the class name does not stand at the end"
    elif causal.layers is None:
        shared = causal.unknown
    return {"shared": shared, "cropped": None, "plain": None}


def _starts_with_context(prompts: PromptTokens) -> bool:
    """Whether every prompt is `[start] context`, then the name."""
    tokens_in_context = int(prompts.slots[0].max()) + 1
    expected = torch.arange(-1, tokens_in_context)
    rest = prompts.slots[:, tokens_in_context + 1 :]
    return bool((prompts.slots[:, : tokens_in_context + 1] == expected).all()) and bool((rest == NO_SLOT).all())


def _shared(tower: TextTower, names: PackedNames, bounds: Bounds, context: Tensor) -> Tensor:
    causal = tower.causal
    if causal is None or causal.layers is None:
        msg = "the shared path was planned for another tower"
        raise RuntimeError(msg)
    layers, device = causal.layers, context.device
    start = tower.embed(names.start.to(device)).to(context.dtype).expand(len(context), 1, -1)
    prefix = torch.cat([start, context], dim=1) + causal.positions[: names.prefix_length]
    keys_values = encode_prefix(layers, prefix)
    tokens, offsets = names.tokens.to(device), names.offsets.to(device)

    def part(rows: slice) -> Tensor:
        where = names.token_slice(rows)
        hidden = tower.embed(tokens[where]) + causal.positions[names.prefix_length + offsets[where]]
        at_end = encode_names(layers, hidden.expand(len(context), -1, -1), keys_values, names.lengths[rows])
        return _unit(causal.read_out(at_end).transpose(0, 1).flatten(0, 1), len(context))

    return in_chunks(part, bounds)[names.back.to(device)]


def _cropped(tower: TextTower, embeddings: Tensor, prompts: PromptTokens, num_contexts: int) -> Tensor:
    causal = tower.causal
    if causal is None:
        msg = "the cropped path was planned for another tower"
        raise RuntimeError(msg)
    length = embeddings.shape[1]
    hidden = causal.blocks(embeddings + causal.positions[:length], causal.mask[:length, :length])
    ends = prompts.end_positions.repeat_interleave(num_contexts)
    return causal.read_out(hidden[torch.arange(len(hidden), device=hidden.device), ends])


def _plain(tower: TextTower, embeddings: Tensor, prompts: PromptTokens, num_contexts: int) -> Tensor:
    return tower.whole(embeddings, prompts.tokens.repeat_interleave(num_contexts, dim=0))


def _unit(features: Tensor, num_contexts: int) -> Tensor:
    """Features of K names in P contexts (K * P, D) -> unit length, at least float32, (K, P, D)."""
    features = features.to(torch.promote_types(features.dtype, torch.float32))
    return F.normalize(features, dim=-1).view(-1, num_contexts, features.shape[-1])


def _of_length(field: Tensor, length: int) -> Tensor:
    """Sequences cut or filled up to `length`: token 0, which is no context slot."""
    if field.dim() == 1:
        return field
    fill = 0 if field.shape[1] >= length else length - field.shape[1]
    return F.pad(field[:, :length], (0, fill))


@functools.cache
def _announce(path: str, reason: str, chunks: int) -> None:
    """Say once which path runs and why."""
    parts = f", in {chunks} chunks of classes" if chunks > 1 else ""
    log.info("text path: %s (%s)%s", path, reason, parts)
