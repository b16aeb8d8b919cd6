from __future__ import annotations

import math

import pytest
import torch

from negprompt.errors import ConfigError
from negprompt.scores.mcm import mcm
from negprompt.scores.negprompt import negprompt
from negprompt.types import ScoreInputs, Similarity


def random_inputs(batch: int = 6, classes: int = 5, negatives: int = 2) -> ScoreInputs:
    generator = torch.Generator().manual_seed(3)
    positive = torch.rand(batch, classes, generator=generator, dtype=torch.float64) * 0.5
    negative = torch.rand(batch, classes, negatives, generator=generator, dtype=torch.float64) * 0.5
    return ScoreInputs(Similarity(positive, negative), 100.0)


def test_equals_equation_3_written_out() -> None:
    cosines = Similarity(
        torch.tensor([[0.30, 0.20]], dtype=torch.float64),
        torch.tensor([[[0.10, 0.05], [0.15, 0.40]]], dtype=torch.float64),
    )
    denominator = sum(math.exp(c / 0.1) for c in (0.30, 0.20, 0.10, 0.05, 0.15, 0.40))
    score = negprompt(ScoreInputs(cosines, 100.0), temperature=0.1)
    assert score.item() == pytest.approx(math.exp(3.0) / denominator, abs=1e-12)


def test_the_maximum_runs_over_positives_even_where_a_negative_is_nearer() -> None:
    cosines = Similarity(torch.tensor([[0.1, 0.2]]), torch.tensor([[[0.9], [0.0]]]))
    score = negprompt(ScoreInputs(cosines, 100.0), temperature=0.01)
    assert score.item() == pytest.approx(math.exp(-70), rel=1e-4)


def test_no_negatives_a_class_gives_mcm() -> None:
    inputs = random_inputs(negatives=0)
    torch.testing.assert_close(negprompt(inputs), mcm(inputs), rtol=1e-12, atol=0)


def test_shares_of_positives_and_negatives_add_up_to_one() -> None:
    positive, negative, _ = random_inputs(batch=1, classes=3, negatives=2).similarity
    assert negative is not None
    every = torch.cat([positive, negative.flatten(1)], dim=1)[0]
    shares = []
    for i in range(len(every)):  # each entry once as the only positive
        rest = torch.cat([every[:i], every[i + 1 :]]).view(1, 1, -1)
        shares.append(negprompt(ScoreInputs(Similarity(every[i].view(1, 1), rest), 100.0)).item())
    assert sum(shares) == pytest.approx(1.0, abs=1e-12)


def test_a_constant_added_to_all_cosines_changes_nothing() -> None:
    inputs = random_inputs()
    positive, negative, _ = inputs.similarity
    assert negative is not None
    shifted = ScoreInputs(Similarity(positive + 0.4, negative + 0.4), 100.0)
    torch.testing.assert_close(negprompt(shifted), negprompt(inputs), rtol=1e-12, atol=0)


def test_the_score_falls_when_any_negative_rises() -> None:
    inputs = random_inputs(batch=1)
    positive, negative, _ = inputs.similarity
    assert negative is not None
    before = negprompt(inputs)
    for position in range(negative.numel()):
        raised = negative.clone()
        raised.view(-1)[position] += 0.05
        assert negprompt(ScoreInputs(Similarity(positive, raised), 100.0)) < before


def test_more_negatives_never_raise_the_score() -> None:
    positive, negative, _ = random_inputs(negatives=3).similarity
    assert negative is not None
    fewer = negprompt(ScoreInputs(Similarity(positive, negative[:, :, :2]), 100.0))
    assert (negprompt(ScoreInputs(Similarity(positive, negative), 100.0)) < fewer).all()


def test_the_order_of_classes_and_negatives_does_not_matter() -> None:
    positive, negative, _ = random_inputs().similarity
    assert negative is not None
    turned = ScoreInputs(Similarity(positive.flip(1), negative.flip(1).flip(2)), 100.0)
    torch.testing.assert_close(
        negprompt(turned), negprompt(ScoreInputs(Similarity(positive, negative), 100.0)), rtol=1e-12, atol=0
    )


def test_a_run_without_negatives_is_told_what_to_change() -> None:
    with pytest.raises(ConfigError, match=r"method=negprompt.*score=mcm"):
        negprompt(ScoreInputs(Similarity(torch.zeros(2, 3)), 100.0))


def test_says_that_it_needs_negatives() -> None:
    assert negprompt.needs == frozenset({"negative"})
    assert mcm.needs == frozenset()


# --- the released code's other forms --------------------------------------------------------------------------------


def test_the_other_forms_are_those_of_the_released_code():
    inputs = random_inputs(batch=5, classes=4, negatives=3)
    positive, negative, _ = inputs.similarity
    assert negative is not None
    logits = torch.cat([positive.unsqueeze(2), negative], dim=2).double()
    shares = torch.softmax(logits.flatten(1), dim=1).view_as(logits)
    nearest = positive.argmax(dim=1)
    rows = torch.arange(5)
    torch.testing.assert_close(negprompt(inputs, form="negative"), -shares[:, :, 1:].amax(dim=(1, 2)))
    torch.testing.assert_close(
        negprompt(inputs, form="difference"), shares[rows, nearest, 0] - shares[rows, nearest, 1:].amax(dim=1)
    )
