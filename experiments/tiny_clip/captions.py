"""Captions of many lengths, so that every position a learned prompt may use is trained.

A quarter is the bare name, a third uses a short template, and the rest put the name behind (sometimes before) a random
run of words: prompts of up to 16 learned context tokens and a name are then nothing new to the text tower.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise

import numpy as np
import torch
from open_clip import CLIP, SimpleTokenizer
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

SOT, EOT, CONTEXT_LENGTH = 49406, 49407, 77
TOKENIZER = SimpleTokenizer(context_length=CONTEXT_LENGTH)
SHORT = (
    "a photo of a {}", "a photo of a {}.", "an icon of a {}", "an icon of the {}.", "a drawing of a {}",
    "a picture of {}", "{} icon", "a symbol for {}", "this is a photo of a {}", "an image of one {}", "the {}",
    "a {}", "{}.", "a small picture of a {}.", "a black and white icon of a {}", "a sketch of the {}",
    "a pictogram that shows a {}", "an outline of a {}", "a {} in colour", "a good photo of the {}",
    "a photo of many {}", "a close-up photo of a {}.", "a pixelated photo of a {}.", "art of the {}.",
)  # fmt: skip
CLAUSES = (
    "this is a picture of", "a simple drawing by hand ,", "in black ink on white paper ,",
    "one of many in a large set ,", "a clean outline with round corners ,", "a flat design for a small screen ,",
    "here you see an icon of", "the sign of a", "a photo of a", "an image that shows a", "a colourful emoji of the",
    "made by a designer for a web page :", "it is drawn with a thin line and shows",
    "a solid shape , filled with one colour , of a", "what is this ? it is a", "a low resolution photo of the",
    "from a book of symbols :", "please find a", "some kind of", "a good picture with a",
)  # fmt: skip
LONGEST, RARELY_LONGEST = 28, 62  # context tokens


@lru_cache(maxsize=200_000)
def words(text: str) -> tuple[int, ...]:
    """Token ids of ``text`` without start and end."""
    return tuple(TOKENIZER.encode(text))


def caption(name: str, random: np.random.Generator) -> list[int]:
    """Token ids of a random caption for ``name``."""
    kind = random.random()
    if kind < 0.25:
        return _framed(words(name))
    if kind < 0.60:
        before, after = SHORT[random.integers(len(SHORT))].split("{}")
        return _framed(words(before) + words(name) + words(after))
    context = _context(random)
    place = random.random()
    if place < 0.85:
        return _framed(context + words(name) + (words(".") if random.random() < 0.5 else ()))
    cut = 0 if place < 0.93 else len(context) // 2
    return _framed(context[:cut] + words(name) + context[cut:])


def _context(random: np.random.Generator) -> tuple[int, ...]:
    longest = RARELY_LONGEST if random.random() < 0.05 else LONGEST
    length = int(random.integers(2, longest + 1))
    context: tuple[int, ...] = ()
    while len(context) < length:
        context = words(CLAUSES[random.integers(len(CLAUSES))]) + context
    return context[-length:]


def _framed(tokens: tuple[int, ...]) -> list[int]:
    return [SOT, *tokens[: CONTEXT_LENGTH - 2], EOT]


def tokenize(captions: list[list[int]]) -> Tensor:
    """Captions padded with zeros to the longest, (B, L)."""
    table = torch.zeros(len(captions), max(map(len, captions)), dtype=torch.long)
    for row, tokens in enumerate(captions):
        table[row, : len(tokens)] = torch.tensor(tokens)
    return table


def encode_embedded(model: CLIP, hidden: Tensor, ends: Tensor) -> Tensor:
    """Unit text features (B, D) of embedded tokens (B, L, W), L <= 77, whose texts end at positions ``ends`` (B,).

    The mask is causal, so what follows the end of a text cannot change it: leaving it out is exact, and much faster.
    """
    length = hidden.shape[1]
    hidden = hidden + model.positional_embedding[:length]
    hidden = model.ln_final(model.transformer(hidden, attn_mask=model.attn_mask[:length, :length]))
    return F.normalize(hidden[torch.arange(len(ends)), ends] @ model.text_projection, dim=-1)


def encode_by_length(model: CLIP, captions: list[list[int]], chunks: int) -> Tensor:
    """Unit text features (B, D) of captions in their order, computed in ``chunks`` of similar length.

    All tokens are looked up at once: the table's gradient is dense, and as large as the rest of the work.
    """
    order = np.argsort([len(tokens) for tokens in captions], kind="stable")
    tokens = tokenize([captions[i] for i in order])
    ends = tokens.argmax(dim=1)
    embedded = model.token_embedding(tokens)
    bounds = np.linspace(0, len(captions), chunks + 1).astype(int)
    parts = [
        encode_embedded(model, embedded[start:stop, : int(ends[stop - 1]) + 1], ends[start:stop])
        for start, stop in pairwise(bounds)
    ]
    return torch.cat(parts)[torch.from_numpy(np.argsort(order))]


@torch.no_grad()
def name_features(model: CLIP, names: list[str], templates: tuple[str, ...] = ("a photo of a {}",)) -> Tensor:
    """Unit text features (K, D) of ``names``, averaged over ``templates``."""
    features: Tensor | float = 0.0
    for template in templates:
        captions = [_framed(words(template.format(name))) for name in names]
        features = features + encode_by_length(model, captions, chunks=max(1, len(names) // 512))
    return F.normalize(torch.as_tensor(features), dim=-1)
