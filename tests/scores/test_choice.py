"""A score with its settings: filled in, checked before anything runs, and named in the request hash."""

from __future__ import annotations

import pytest
import torch

from negprompt.errors import ConfigError
from negprompt.scores.base import score
from negprompt.scores.choice import choose
from negprompt.scores.max_logit import max_logit
from negprompt.scores.mcm import mcm
from negprompt.scores.negprompt import negprompt
from negprompt.types import ScoreInputs, Similarity

INPUTS = ScoreInputs(Similarity(torch.tensor([[0.3, 0.1]]), torch.tensor([[[0.2], [0.0]]])), 100.0)


def test_settings_are_filled_in():
    chosen = choose("mcm", mcm, {"temperature": 0.5}, "negprompt.scores.mcm.mcm")
    assert torch.equal(chosen.function(INPUTS), mcm(INPUTS, temperature=0.5))
    assert chosen.node == {"_target_": "negprompt.scores.mcm.mcm", "temperature": 0.5}


def test_a_score_says_what_it_needs():
    assert choose("negprompt", negprompt, {}, "").needs == {"negative"}
    assert choose("max_logit", max_logit, {}, "").needs == frozenset()


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan"), float("inf")])
def test_a_temperature_that_makes_no_sense_is_refused_now(temperature):
    with pytest.raises(ConfigError, match=r"score\.mcm\.temperature"):
        choose("mcm", mcm, {"temperature": temperature}, "")


@pytest.mark.parametrize("temperature", ["1.0", None, [1.0], True])
def test_another_type_is_refused_with_its_value(temperature):
    with pytest.raises(ConfigError, match=r"score\.mcm\.temperature="):
        choose("mcm", mcm, {"temperature": temperature}, "")


def test_an_unknown_setting_is_answered_with_the_nearest():
    with pytest.raises(ConfigError, match=r"score\.mcm\.temp=1\.0: unknown setting; .*'temperature'"):
        choose("mcm", mcm, {"temp": 1.0}, "")


def test_a_whole_number_is_a_temperature():
    assert torch.equal(choose("mcm", mcm, {"temperature": 2}, "").function(INPUTS), mcm(INPUTS, temperature=2.0))


def unmarked(inputs, *, weight: float = 1.0):
    return inputs.similarity.positive.amax(dim=1)


@score()
def untyped(inputs, *, weight=1.0):
    return weight * inputs.similarity.positive.amax(dim=1)


def test_what_a_users_own_score_lacks_is_said():
    with pytest.raises(ConfigError, match=r"score\.mine: .*put @score\(\)"):
        choose("mine", unmarked, {}, "mine.unmarked")
    with pytest.raises(ConfigError, match=r"score\.mine\.weight: .*weight: float = 1\.0"):
        choose("mine", untyped, {"weight": 2.0}, "mine.untyped")
