"""Where contexts start: words to the bit, noise by seed, negatives around the positive."""

from __future__ import annotations

import pytest
import torch
from helpers import tiny_backbone

from negprompt.errors import ConfigError
from negprompt.prompts.context import initial_context, initial_negative_context

WORDS = "a photo of a"


@pytest.fixture(scope="module")
def backbone():
    return tiny_backbone()


def start(backbone, n=4, init="auto", seed=0, num_classes=None):
    return initial_context(backbone, n, init, WORDS, seed, num_classes)


def test_words_start_as_rows_of_the_token_table(backbone):
    ids = backbone.tokenize(WORDS)
    assert torch.equal(start(backbone, init="words"), backbone.model.token_embedding.weight[ids])


def test_auto_takes_the_words_where_they_fit_and_noise_elsewhere(backbone):
    assert torch.equal(start(backbone, 4, "auto"), start(backbone, 4, "words"))
    assert torch.equal(start(backbone, 16, "auto"), start(backbone, 16, "random"))


def test_words_of_another_length_are_refused_with_both_numbers(backbone):
    with pytest.raises(ConfigError, match=r"are 4 tokens and method\.num_context_tokens is 16"):
        start(backbone, 16, "words")


def test_random_contexts_have_coops_spread(backbone):
    context = start(backbone, 500, "random")
    assert float(context.std()) == pytest.approx(0.02, rel=0.03)
    assert abs(float(context.mean())) < 1e-3


def test_equal_seeds_give_equal_bits_and_zero_is_a_seed(backbone):
    by_seed = {seed: start(backbone, 16, seed=seed) for seed in (0, 1, 2)}
    assert all(torch.equal(context, start(backbone, 16, seed=seed)) for seed, context in by_seed.items())
    assert not torch.equal(by_seed[0], by_seed[1])
    assert not torch.equal(by_seed[1], by_seed[2])


def test_the_global_seed_has_no_say(backbone):
    torch.manual_seed(1)
    one = start(backbone, 16)
    torch.manual_seed(2)
    assert torch.equal(one, start(backbone, 16))


def test_class_specific_words_start_equal_and_class_specific_noise_does_not(backbone):
    words, noise = start(backbone, 4, num_classes=3), start(backbone, 5, num_classes=3)
    assert torch.equal(words[0], words[2])
    assert not torch.equal(noise[0], noise[2])


def test_class_specific_words_do_not_share_memory(backbone):
    context = start(backbone, 4, num_classes=2)
    context[0] = 7
    assert float(context[1].max()) < 1
    assert float(backbone.model.token_embedding.weight.max()) < 1


POSITIVE = torch.full((4, 32), 5.0)


def test_uniform_noise_stays_within_its_amplitude_around_the_positive():
    distance = initial_negative_context(POSITIVE, 50, "positive_uniform", 0.25, seed=0) - POSITIVE
    assert float(distance.abs().max()) <= 0.25
    assert float(distance.std()) == pytest.approx(0.25 / 3**0.5, rel=0.03)


def test_the_released_amplitude_survives_in_single_precision():
    context = 0.02 * torch.randn(4, 32, generator=torch.Generator().manual_seed(0))
    first, second = initial_negative_context(context, 2, "positive_uniform", 1e-5, seed=0)
    assert 0 < float((first - context).abs().max()) <= 1.01e-5
    assert not torch.equal(first, second)


def test_normal_noise_has_its_standard_deviation_around_the_positive():
    distance = initial_negative_context(POSITIVE, 50, "positive_normal", 0.5, seed=0) - POSITIVE
    assert float(distance.std()) == pytest.approx(0.5, rel=0.03)


def test_normal_starts_forget_the_positive():
    context = initial_negative_context(POSITIVE, 50, "normal", 0.5, seed=0)
    assert abs(float(context.mean())) < 0.05


@pytest.mark.parametrize("init", ["positive_uniform", "positive_normal", "normal"])
def test_negative_starts_are_a_function_of_the_seed(init):
    starts = [initial_negative_context(POSITIVE, 2, init, 0.1, seed) for seed in (0, 0, 1)]
    assert torch.equal(starts[0], starts[1])
    assert not torch.equal(starts[0], starts[2])


@pytest.mark.parametrize("init", ["positive_uniform", "positive_normal"])
def test_class_specific_negatives_start_around_their_own_class(init):
    positive = torch.arange(3.0).reshape(3, 1, 1).expand(3, 4, 32)
    negative = initial_negative_context(positive, 2, init, 0.01, seed=0)
    assert (negative - positive.unsqueeze(1)).abs().max() < 0.1
    assert not torch.equal(negative[:, 0], negative[:, 1])


def test_the_positive_is_left_alone():
    positive = POSITIVE.clone().requires_grad_()
    negative = initial_negative_context(positive, 2, "positive_uniform", 0.1, seed=0)
    negative += 1
    assert not negative.requires_grad
    assert torch.equal(positive, POSITIVE)
