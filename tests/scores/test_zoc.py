"""ZOC's score against a hand-computed value and NumPy, and its limits."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.special import softmax

from negprompt.errors import ConfigError
from negprompt.scores.zoc import zoc
from negprompt.types import ScoreInputs, Similarity

GENERATOR = torch.Generator().manual_seed(1)
SEEN = 0.3 * torch.rand(6, 5, generator=GENERATOR)
CANDIDATES = (0.3 * torch.rand(6, 8, generator=GENERATOR)).masked_fill(
    torch.rand(6, 8, generator=GENERATOR) < 0.4, -torch.inf
)


def inputs(candidates=CANDIDATES, seen=SEEN):
    return ScoreInputs(Similarity(seen), 50.0, candidates=candidates)


def test_a_score_by_hand():
    # exp(50 * 0.02) = e, exp(50 * 0.04) = e^2, exp(0) = 1
    given = inputs(torch.tensor([[0.04, -torch.inf]]), torch.tensor([[0.02, 0.0]]))
    wanted = (math.e + 1) / (math.e + 1 + math.e**2)
    assert float(zoc(given)) == pytest.approx(wanted, rel=1e-6)


def test_it_is_one_minus_the_share_of_the_candidates():
    for row in range(6):
        there = CANDIDATES[row][torch.isfinite(CANDIDATES[row])]
        shares = softmax(50 * np.concatenate([SEEN[row].double().numpy(), there.double().numpy()]))
        np.testing.assert_allclose(float(zoc(inputs())[row]), 1 - shares[5:].sum(), rtol=1e-12)


@pytest.mark.parametrize("candidates", [torch.zeros(6, 0), torch.full((6, 3), -torch.inf)], ids=["no word", "not here"])
def test_without_candidates_everything_is_in_distribution(candidates):
    assert zoc(inputs(candidates)).tolist() == [1.0] * 6


def test_the_order_of_candidates_does_not_matter():
    torch.testing.assert_close(zoc(inputs(CANDIDATES.flip(1))), zoc(inputs()), rtol=1e-12, atol=0)


def test_one_more_candidate_lowers_the_score():
    assert (zoc(inputs(torch.cat([CANDIDATES, torch.zeros(6, 1)], dim=1))) < zoc(inputs())).all()


def test_large_cosines_at_a_large_scale_stay_finite():
    extreme = ScoreInputs(Similarity(torch.tensor([[1.0], [-1.0]])), 1e4, candidates=torch.tensor([[-1.0], [1.0]]))
    assert zoc(extreme).tolist() == [1.0, 0.0]


def test_without_a_decoder_it_says_so():
    with pytest.raises(ConfigError, match="'zoc' needs candidate names: use method=zoc"):
        zoc(inputs(None))
