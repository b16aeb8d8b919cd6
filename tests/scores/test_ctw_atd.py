"""Both scores of CLIPN against a few lines of NumPy, and their limits."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import softmax

from negprompt.errors import ConfigError
from negprompt.scores.atd import atd
from negprompt.scores.ctw import ctw
from negprompt.types import ScoreInputs, Similarity

GENERATOR = torch.Generator().manual_seed(1)
YES = 0.3 * torch.rand(6, 5, generator=GENERATOR)
NO = 0.3 * torch.rand(6, 5, 1, generator=GENERATOR)


def inputs(no=NO):
    return ScoreInputs(Similarity(YES, no), 50.0)


def test_both_are_their_formulas():
    yes, no = 50 * YES.double().numpy(), 50 * NO.double().numpy()[..., 0]
    shares = np.exp(yes) / (np.exp(yes) + np.exp(no))
    np.testing.assert_allclose(ctw(inputs()), shares[np.arange(6), yes.argmax(axis=1)], rtol=1e-12)
    np.testing.assert_allclose(atd(inputs()), (shares * softmax(yes, axis=1)).sum(axis=1), rtol=1e-12)


@pytest.mark.parametrize("score", [ctw, atd])
def test_a_tower_that_says_no_as_it_says_yes_gives_one_half(score):
    torch.testing.assert_close(score(inputs(YES.unsqueeze(2))), torch.full((6,), 0.5, dtype=torch.float64))


@pytest.mark.parametrize("score", [ctw, atd])
def test_a_louder_no_lowers_the_score(score):
    assert (score(inputs(NO + 0.1)) < score(inputs())).all()


@pytest.mark.parametrize("score", [ctw, atd])
def test_without_a_no_it_says_so(score):
    with pytest.raises(ConfigError, match="method=clipn"):
        score(inputs(None))
