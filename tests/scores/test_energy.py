from __future__ import annotations

import math

import pytest
import torch

from negprompt.scores.energy import energy
from negprompt.scores.max_logit import max_logit
from negprompt.types import ScoreInputs, Similarity


def test_equals_the_formula_written_out() -> None:
    inputs = ScoreInputs(Similarity(torch.tensor([[0.28, 0.26]], dtype=torch.float64)), 100.0)
    assert energy(inputs).item() == pytest.approx(math.log(math.exp(28) + math.exp(26)), abs=1e-9)
    expected = 2 * math.log(math.exp(14) + math.exp(13))
    assert energy(inputs, temperature=2.0).item() == pytest.approx(expected, abs=1e-9)


def test_one_class_gives_its_logit_at_any_temperature() -> None:
    inputs = ScoreInputs(Similarity(torch.tensor([[0.25]])), 100.0)
    assert energy(inputs, temperature=3.0).item() == pytest.approx(25.0, abs=1e-12)


def test_lies_between_the_largest_logit_and_that_plus_t_log_k() -> None:
    cosines = torch.rand(20, 5, generator=torch.Generator().manual_seed(2)) * 0.4
    inputs = ScoreInputs(Similarity(cosines), 100.0)
    gap = energy(inputs, temperature=2.0) - max_logit(inputs)
    assert (gap >= 0).all()
    assert (gap <= 2 * math.log(5) + 1e-9).all()


def test_towards_temperature_zero_it_becomes_the_largest_logit() -> None:
    inputs = ScoreInputs(Similarity(torch.tensor([[0.25, 0.20, 0.1]])), 100.0)
    torch.testing.assert_close(energy(inputs, temperature=1e-3), max_logit(inputs))


def test_huge_logits_stay_finite() -> None:
    inputs = ScoreInputs(Similarity(torch.tensor([[1.0, 1.0]])), 1e4)
    assert energy(inputs).item() == pytest.approx(1e4 + math.log(2), abs=1e-6)
