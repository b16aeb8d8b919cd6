from __future__ import annotations

import pytest
import torch
from helpers import shared_backbone
from torch.nn.functional import normalize

from negprompt.prompts.readable import class_cosines, drift, nearest_tokens
from negprompt.types import TextFeatures

GENERATOR = torch.Generator().manual_seed(0)


def unit(*shape: int) -> torch.Tensor:
    return normalize(torch.randn(*shape, generator=GENERATOR), dim=-1)


def test_a_vector_that_is_a_tokens_embedding_reads_as_that_token_with_cosine_1() -> None:
    backbone = shared_backbone()
    texts = backbone.token_texts()
    ids = backbone.tokenize("a photo of a xylophone")
    table = backbone.embed_tokens(torch.arange(len(texts)))
    found = nearest_tokens(3.0 * table[ids], table, 2)
    assert found.places[:, 0].tolist() == ids
    assert found.cosines[:, 0].tolist() == pytest.approx([1.0] * len(ids), abs=1e-12)
    assert (found.cosines[:, 1] < 1).all()
    assert [texts[token] for token in ids] == ["a", "photo", "of", "a", "xy-", "lophone"]


def test_every_token_of_the_vocabulary_reads_as_something() -> None:
    backbone = shared_backbone()
    texts = backbone.token_texts()
    info = backbone.tokenizer_info
    assert sorted(texts) == list(range(49408))
    assert all(texts.values())
    assert (texts[info.start], texts[info.end]) == ("<start_of_text>", "<end_of_text>")
    assert not any("</w>" in text for text in texts.values())


def test_rows_of_zeros_are_near_to_nothing() -> None:
    table = torch.tensor([[0.0, 0.0], [-1.0, 0.0], [0.0, 0.0]])
    found = nearest_tokens(torch.tensor([[1.0, 0.0]]), table, 3)
    assert (found.places.tolist(), found.cosines.tolist()) == ([[1]], [[-1.0]])


def test_long_tables_are_looked_through_in_parts() -> None:
    table = torch.randn(20000, 8, generator=GENERATOR)
    found = nearest_tokens(table[[3, 12345, 19999]], table, 1)
    assert found.places.flatten().tolist() == [3, 12345, 19999]


def test_drift_is_the_distance_over_the_length_at_the_start() -> None:
    start = torch.tensor([[3.0, 4.0], [0.0, 2.0], [0.0, 0.0]])
    assert drift(start, start)[:2].tolist() == [0.0, 0.0]
    moved = drift(start + torch.tensor([[0.0, 5.0], [1.0, 0.0], [1.0, 0.0]]), start)
    assert moved.tolist() == [1.0, 0.5, float("inf")]


def test_shared_negatives_are_averaged_over_the_other_classes() -> None:
    text = TextFeatures(unit(5, 8), unit(5, 2, 8))
    assert text.negative is not None
    found = class_cosines(text, class_specific=False)
    by_hand = [
        [sum(float(text.negative[k, p] @ text.positive[j]) for k in range(5) if k != j) / 4 for j in range(5)]
        for p in range(2)
    ]
    assert found.tolist() == [[pytest.approx(row, abs=1e-6) for row in by_hand]]


def test_a_classs_own_negatives_are_never_nearest_to_it() -> None:
    positive = unit(4, 8)
    found = class_cosines(TextFeatures(positive, positive.unsqueeze(1)), class_specific=True)
    assert found.shape == (4, 1, 4)
    assert (found.argmax(dim=2).flatten() != torch.arange(4)).all()
