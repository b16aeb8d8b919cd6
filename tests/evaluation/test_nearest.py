from __future__ import annotations

import pytest
import torch
from torch.nn.functional import normalize

from negprompt.evaluation.nearest import nearest_prompts
from negprompt.prompts.similarity import similarity
from negprompt.types import TextFeatures

GENERATOR = torch.Generator().manual_seed(0)
FEATURES = 7 * torch.randn(101, 32, generator=GENERATOR)
TEXT = TextFeatures(
    normalize(torch.randn(13, 32, generator=GENERATOR), dim=-1),
    normalize(torch.randn(13, 3, 32, generator=GENERATOR), dim=-1),
)


def test_nearest_prompts_by_hand() -> None:
    text = TextFeatures(torch.eye(2), torch.tensor([[[-1.0, 0.0], [0.6, 0.8]], [[0.0, -1.0], [0.8, -0.6]]]))
    found = nearest_prompts(torch.tensor([[3.0, 0.0], [0.0, 0.5]]), text)
    assert found.positive.tolist() == [1.0, 1.0]
    assert found.positive_class.tolist() == [0, 1]
    assert found.negative is not None
    assert found.negative_class is not None
    assert found.negative.tolist() == pytest.approx([0.8, 0.8])
    assert found.negative_class.tolist() == [1, 0]


def test_the_largest_cosines_are_those_of_all_cosines_at_once() -> None:
    found = nearest_prompts(FEATURES, TEXT, chunk=10)
    whole = similarity(normalize(FEATURES.double(), dim=-1), TEXT.positive.double(), TEXT.negative.double())  # type: ignore[union-attr]
    assert whole.negative is not None
    assert torch.equal(found.positive, whole.positive.amax(1).float())
    assert torch.equal(found.positive_class, whole.positive.argmax(1))
    assert torch.equal(found.negative, whole.negative.amax((1, 2)).float())  # type: ignore[arg-type]
    assert torch.equal(found.negative_class, whole.negative.flatten(1).argmax(1) // 3)  # type: ignore[arg-type]


@pytest.mark.parametrize("chunk", [1, 2, 7, 100, 101, 1000])
def test_chunks_of_any_size_give_equal_results(chunk: int) -> None:
    expected, found = nearest_prompts(FEATURES, TEXT), nearest_prompts(FEATURES, TEXT, chunk=chunk)
    for one, other in zip(expected, found, strict=True):
        assert one is not None
        assert other is not None
        assert torch.equal(one, other)


def test_the_length_of_features_makes_no_difference() -> None:
    assert torch.equal(nearest_prompts(FEATURES, TEXT).positive, nearest_prompts(4 * FEATURES, TEXT).positive)


def test_without_negative_prompts_there_is_no_nearest_one() -> None:
    found = nearest_prompts(FEATURES, TextFeatures(TEXT.positive))
    assert (found.negative, found.negative_class) == (None, None)
    assert len(found.positive) == 101


def test_no_pictures_have_no_nearest_prompts() -> None:
    assert len(nearest_prompts(FEATURES[:0], TEXT).positive_class) == 0
