"""Learned prompts made readable: nearest words, drift, and the classes that negatives lie near."""

from __future__ import annotations

import functools
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from negprompt.backbones.base import FrozenBackbone
from negprompt.prompts.bundle import is_class_specific
from negprompt.prompts.readable import class_cosines, drift, nearest_tokens
from negprompt.reports.document import Words
from negprompt.types import PromptBundle, TextFeatures

log = logging.getLogger(__name__)

_POSITIVE = "positive"


class Vocabulary(NamedTuple):
    """A backbone's token table (V, d) and how its entries read, by id."""

    table: Tensor
    texts: Mapping[int, str]


@functools.lru_cache(maxsize=1)
@torch.no_grad()
def vocabulary_of(backbone: FrozenBackbone) -> Vocabulary:
    """Of all tokens that a backbone can name.

    Raises:
        BackboneError: its tokenizer does not list its tokens.
    """
    texts = backbone.token_texts()
    rows = torch.arange(max(texts) + 1, device=next(backbone.parameters()).device)
    return Vocabulary(backbone.embed_tokens(rows).cpu(), texts)


class Chosen(NamedTuple):
    """How much is told: words a vector, classes a negative prompt, prompts a run."""

    words: int = 5
    classes: int = 5
    prompts: int = 20


class _Prompt(NamedTuple):
    name: str
    context: Tensor
    start: Tensor | None
    cosines: Tensor | None


def learned_words(
    run: str,
    bundle: PromptBundle,
    starts: tuple[Tensor | None, Tensor | None],
    text: TextFeatures,
    vocabulary: Vocabulary,
    chosen: Chosen = Chosen(),  # noqa: B008 -- a tuple of numbers
) -> tuple[Words, ...]:
    """Read a run's prompts, the positive one first.

    Args:
        run: key of the run in a report.
        bundle: its prompts; hand-written templates are no vectors, and there is nothing to read.
        starts: positive and negative context before training, None where not known (`OpenRun.starts`).
        text: features of the same prompts for the classes of training.
        vocabulary: of the backbone.
        chosen: how much of it; of class-specific prompts the first classes.
    """
    if bundle.positive.shape[-2] == 0:
        return ()
    prompts = list(_prompts(bundle, starts, text))
    if len(prompts) > chosen.prompts:
        log.info("%s: %d of %d prompts are put into words", run, chosen.prompts, len(prompts))
    names = bundle.metadata["train_class_names"]
    return tuple(_read(run, prompt, vocabulary, names, chosen) for prompt in prompts[: chosen.prompts])


def _prompts(
    bundle: PromptBundle, starts: tuple[Tensor | None, Tensor | None], text: TextFeatures
) -> Iterator[_Prompt]:
    """Class by class where each has its own: the positive prompt, then its negatives."""
    specific, names = is_class_specific(bundle), bundle.metadata["train_class_names"]
    positive, begun = _by_class(bundle.positive, specific), _by_class(starts[0], specific)
    negative = None if bundle.negative is None else _by_class(bundle.negative, specific)
    negative_begun = _by_class(starts[1], specific)
    cosines = None if negative is None else class_cosines(text, class_specific=specific)
    for place in range(len(positive or ())):
        of_class = f", {names[place]}" if specific else ""
        yield _Prompt(f"{_POSITIVE}{of_class}", positive[place], begun and begun[place], None)
        for number in range(0 if negative is None else len(negative[place])):
            yield _Prompt(
                f"negative {number + 1}{of_class}",
                negative[place][number],
                None if negative_begun is None else negative_begun[place][number],
                None if cosines is None else cosines[place][number],
            )


def _by_class(context: Tensor | None, specific: bool) -> Sequence[Tensor] | None:
    return None if context is None else list(context) if specific else [context]


def _read(run: str, prompt: _Prompt, vocabulary: Vocabulary, names: Sequence[str], chosen: Chosen) -> Words:
    found = nearest_tokens(prompt.context.cpu(), vocabulary.table, chosen.words)
    words = tuple(
        tuple(
            (vocabulary.texts.get(place, f"token {place}"), cosine)
            for place, cosine in zip(places, cosines, strict=True)
        )
        for places, cosines in zip(found.places.tolist(), found.cosines.tolist(), strict=True)
    )
    moved = [None] * len(words) if prompt.start is None else drift(prompt.context, prompt.start).tolist()
    near: list[tuple[str, float]] = []
    if prompt.cosines is not None and len(names) > 1:
        cosines, places = prompt.cosines.topk(min(chosen.classes, len(names) - 1))
        near = [(names[place], cosine) for cosine, place in zip(cosines.tolist(), places.tolist(), strict=True)]
    finite = tuple(one if one is not None and math.isfinite(one) else None for one in moved)
    return Words(run, prompt.name, words, finite, tuple(near))
