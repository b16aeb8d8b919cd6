from __future__ import annotations

import math

import pytest
import torch

from negprompt.errors import ConfigError
from negprompt.scores.mcm import mcm
from negprompt.types import ScoreInputs, Similarity


def inputs(cosines: list[list[float]], logit_scale: float = 100.0) -> ScoreInputs:
    return ScoreInputs(Similarity(torch.tensor(cosines, dtype=torch.float64)), logit_scale)


def test_equals_the_softmax_written_out() -> None:
    expected = math.exp(0.3) / (math.exp(0.3) + math.exp(0.1) + math.exp(0.2))
    assert mcm(inputs([[0.1, 0.3, 0.2]])).item() == pytest.approx(expected, abs=1e-12)


def test_temperature_divides_the_raw_cosines() -> None:
    expected = 1 / (1 + math.exp(-0.2 / 0.05))
    assert mcm(inputs([[0.3, 0.1]]), temperature=0.05).item() == pytest.approx(expected, abs=1e-12)


def test_logit_scale_plays_no_part() -> None:
    cosines = [[0.31, 0.12, 0.05], [0.2, 0.25, 0.22]]
    assert torch.equal(mcm(inputs(cosines, 100.0)), mcm(inputs(cosines, 7.0)))


def test_one_class_always_scores_one() -> None:
    assert mcm(inputs([[0.3], [-0.4]])).tolist() == [1.0, 1.0]


def test_equal_cosines_score_one_over_the_number_of_classes() -> None:
    assert mcm(inputs([[0.2] * 8])).item() == pytest.approx(1 / 8, abs=1e-12)


def test_a_shift_of_all_cosines_changes_nothing() -> None:
    cosines = torch.rand(5, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    shifted = mcm(ScoreInputs(Similarity(cosines + 0.3), 100.0))
    torch.testing.assert_close(shifted, mcm(ScoreInputs(Similarity(cosines), 100.0)), rtol=1e-12, atol=0)


def test_images_that_differ_in_one_float32_step_do_not_tie() -> None:
    # 1000 classes at temperature 1: in float32 (and fp16) such neighbours fall on the same value.
    lower = torch.full((1, 1000), 0.2)
    lower[0, 0] = 0.25
    higher = lower.clone()
    higher[0, 0] = torch.nextafter(lower[0, 0], torch.tensor(1.0))
    scores = mcm(ScoreInputs(Similarity(torch.cat([lower, higher])), 100.0))
    assert scores[1] > scores[0]


def test_a_nan_temperature_is_an_error_that_names_the_setting() -> None:
    with pytest.raises(ConfigError, match=r"score\.mcm\.temperature=nan"):
        mcm(inputs([[0.1, 0.2]]), temperature=math.nan)
