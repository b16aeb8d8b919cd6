from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from negprompt.reports.words import Chosen, Vocabulary, learned_words
from negprompt.types import PromptBundle, TextFeatures

TABLE = torch.tensor([[1.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 3.0], [0.0, 0.0, 0.0]])
VOCABULARY = Vocabulary(TABLE, {0: "a", 1: "photo", 2: "of", 3: "never"})
NAMES = ["anchor", "bell", "cactus"]
POSITIVE = torch.tensor([[0.5, 0.0, 0.0], [0.0, 0.6, 0.8]])
NEGATIVE = torch.tensor([[[0.0, 0.0, 1.0], [0.0, 1.0, 0.0]], [[-1.0, 0.0, 0.0], [0.0, 2.0, 0.0]]])
TEXT = TextFeatures(torch.eye(3), normalize(torch.tensor([[[0.6, 0.8, 0.0], [0.0, 0.0, 1.0]]]).repeat(3, 1, 1), dim=-1))


def bundle(positive: Tensor, negative: Tensor | None = None) -> PromptBundle:
    metadata: dict[str, Any] = {"train_class_names": NAMES}
    return PromptBundle(positive, negative, metadata)


def test_each_vector_reads_as_its_nearest_tokens() -> None:
    positive, *negatives = learned_words("run", bundle(POSITIVE, NEGATIVE), (None, None), TEXT, VOCABULARY, Chosen(2))
    assert (positive.run, positive.prompt, len(negatives)) == ("run", "positive", 2)
    assert positive.words[0][0] == ("a", 1.0)
    assert [(word, round(cosine, 6)) for word, cosine in positive.words[1]] == [("of", 0.8), ("photo", 0.6)]
    assert [one.prompt for one in negatives] == ["negative 1", "negative 2"]
    assert [words[0][0] for words in negatives[0].words] == ["of", "photo"]
    assert not any(word == "never" for one in (positive, *negatives) for words in one.words for word, _ in words)


def test_drift_is_told_where_the_start_is_known() -> None:
    starts = (POSITIVE + torch.tensor([[0.5, 0.0, 0.0], [0.0, 0.0, 0.0]]), None)
    positive, first, _ = learned_words("run", bundle(POSITIVE, NEGATIVE), starts, TEXT, VOCABULARY)
    assert positive.drift == pytest.approx((0.5, 0.0))
    assert first.drift == (None, None)
    begun = learned_words("run", bundle(POSITIVE, NEGATIVE), (None, 2 * NEGATIVE), TEXT, VOCABULARY)
    assert [one.drift for one in begun] == [(None, None), (0.5, 0.5), (0.5, 0.5)]


def test_drift_from_a_vector_without_length_is_not_told() -> None:
    (positive,) = learned_words(
        "run", bundle(POSITIVE), (torch.zeros(2, 3), None), TextFeatures(TEXT.positive), VOCABULARY
    )
    assert positive.drift == (None, None)


def test_a_shared_negative_is_near_to_classes_behind_other_names() -> None:
    _, first, second = learned_words("run", bundle(POSITIVE, NEGATIVE), (None, None), TEXT, VOCABULARY)
    assert [(name, round(cosine, 6)) for name, cosine in first.nearest_classes] == [("bell", 0.8), ("anchor", 0.6)]
    assert second.nearest_classes[0] == ("cactus", 1.0)


def test_class_specific_prompts_are_read_class_by_class_up_to_a_number() -> None:
    positive, negative = POSITIVE.expand(3, 2, 3), NEGATIVE.expand(3, 2, 2, 3)
    found = learned_words("run", bundle(positive, negative), (positive, negative), TEXT, VOCABULARY, Chosen(prompts=5))
    assert [one.prompt for one in found] == [
        "positive, anchor",
        "negative 1, anchor",
        "negative 2, anchor",
        "positive, bell",
        "negative 1, bell",
    ]
    assert [name for name, _ in found[1].nearest_classes] == ["bell", "cactus"]
    assert [name for name, _ in found[4].nearest_classes] == ["anchor", "cactus"]
    assert found[0].drift == (0.0, 0.0)


def test_templates_have_no_vectors_to_read() -> None:
    assert learned_words("run", bundle(torch.zeros(0, 3)), (torch.zeros(0, 3), None), TEXT, VOCABULARY) == ()
