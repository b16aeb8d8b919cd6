"""ReAct against a few lines of NumPy, and its limits."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from scipy.special import logsumexp

from negprompt.errors import ConfigError
from negprompt.scores.energy import energy
from negprompt.scores.react import react, threshold
from negprompt.types import ScoreInputs, Similarity

GENERATOR = torch.Generator().manual_seed(1)
FEATURES = 3 * torch.randn(20, 6, generator=GENERATOR)
TEXT = F.normalize(torch.randn(4, 6, generator=GENERATOR), dim=1)


def inputs(limit):
    cosines = F.normalize(FEATURES, dim=1) @ TEXT.T
    return ScoreInputs(Similarity(cosines), 100.0, FEATURES, TEXT, fitted=torch.tensor(limit, dtype=torch.float64))


def test_it_is_the_energy_of_cut_features():
    limit = float(threshold(FEATURES, percentile=85.0))
    cut = np.minimum(FEATURES.double().numpy(), limit)
    cut /= np.linalg.norm(cut, axis=1, keepdims=True)
    expected = logsumexp(100 * cut @ TEXT.double().numpy().T, axis=1)
    np.testing.assert_allclose(react(inputs(limit)), expected, rtol=1e-12)


def test_a_threshold_at_infinity_is_energy():
    torch.testing.assert_close(react(inputs(torch.inf)), energy(inputs(torch.inf)), rtol=1e-5, atol=0)


def test_a_hundred_per_cent_cuts_nothing_of_the_training_pictures():
    assert float(threshold(FEATURES, percentile=100.0)) == pytest.approx(float(FEATURES.max()))


def test_a_longer_picture_scores_the_same_only_as_long_as_nothing_is_cut():
    longer = inputs(torch.inf)._replace(image_features=10 * FEATURES)
    torch.testing.assert_close(react(longer), react(inputs(torch.inf)), rtol=1e-6, atol=0)
    assert not torch.allclose(react(inputs(1.0)._replace(image_features=10 * FEATURES)), react(inputs(1.0)))


@pytest.mark.parametrize("percentile", [0.0, -5.0, 101.0, float("nan")])
def test_a_percentile_out_of_range_is_refused(percentile):
    with pytest.raises(ConfigError, match=r"score\.react\.percentile="):
        threshold(FEATURES, percentile=percentile)


def test_without_its_threshold_it_says_so():
    with pytest.raises(ConfigError, match="threshold"):
        react(inputs(1.0)._replace(fitted=None))
