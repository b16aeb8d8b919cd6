"""GL-MCM against a few lines of NumPy, and its limits."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import softmax

from negprompt.errors import ConfigError
from negprompt.scores.gl_mcm import gl_mcm
from negprompt.scores.mcm import mcm
from negprompt.types import ScoreInputs, Similarity

GENERATOR = torch.Generator().manual_seed(1)
WHOLE = torch.rand(5, 7, generator=GENERATOR)
LOCAL = torch.rand(5, 9, 7, generator=GENERATOR)


def inputs(local=LOCAL):
    return ScoreInputs(Similarity(WHOLE, local=local), 100.0)


def test_it_is_the_sum_of_two_maxima():
    whole = softmax(WHOLE.double().numpy() / 0.5, axis=1).max(axis=1)
    local = softmax(LOCAL.double().numpy() / 0.5, axis=2).max(axis=(1, 2))
    np.testing.assert_allclose(gl_mcm(inputs(), temperature=0.5, local_weight=0.3), whole + 0.3 * local, rtol=1e-12)


@pytest.mark.parametrize("case", ["no regions", "no weight"])
def test_without_regions_it_is_mcm(case):
    score = gl_mcm(inputs(LOCAL[:, :0])) if case == "no regions" else gl_mcm(inputs(), local_weight=0.0)
    assert torch.equal(score, mcm(inputs()))


def test_the_order_of_regions_does_not_matter_and_a_clear_region_raises_the_score():
    assert torch.equal(gl_mcm(inputs()), gl_mcm(inputs(LOCAL.flip(1))))
    clear = LOCAL.clone()
    clear[:, 0] = torch.tensor([9.0, *[0.0] * 6])
    assert (gl_mcm(inputs(clear)) > gl_mcm(inputs())).all()


def test_bad_settings_and_missing_regions_are_named():
    for weight in (-1.0, float("nan"), float("inf")):
        with pytest.raises(ConfigError, match=r"score\.gl_mcm\.local_weight="):
            gl_mcm(inputs(), local_weight=weight)
    with pytest.raises(ConfigError, match=r"local image features.*score=mcm"):
        gl_mcm(inputs(None))
