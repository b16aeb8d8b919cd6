"""ODIN against finite differences in NumPy, and its limits."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, softmax

from negprompt.errors import ConfigError
from negprompt.scores.msp import msp
from negprompt.scores.odin import odin
from negprompt.types import Pixels, ScoreInputs, Similarity

GENERATOR = torch.Generator().manual_seed(1)
PIXELS = torch.randn(4, 3, 2, 2, generator=GENERATOR)
WEIGHT = torch.randn(12, 5, generator=GENERATOR)
STD = (0.2, 0.3, 0.5)


def similarity(pixels):
    return Similarity(torch.tanh(pixels.flatten(1) @ WEIGHT.to(pixels.dtype)))


def inputs(pixels=PIXELS):
    with torch.no_grad():
        return ScoreInputs(similarity(pixels), 10.0, pixels=Pixels(pixels, STD, similarity))


def test_it_moves_every_pixel_by_the_sign_of_a_numeric_gradient():
    scale, step, width = 10.0 / 20.0, 0.01, 1e-6
    weight, expected = WEIGHT.double().numpy(), []
    for picture in PIXELS.double().numpy():
        flat = picture.reshape(-1)
        predicted = (flat @ weight).argmax()

        def loss(values, predicted=predicted):
            return -log_softmax(scale * np.tanh(values @ weight))[predicted]

        gradient = np.array(
            [(loss(flat + width * unit) - loss(flat - width * unit)) / (2 * width) for unit in np.eye(12)]
        )
        moved = flat - step * np.where(gradient >= 0, 1, -1) / np.repeat(STD, 4)
        expected.append(softmax(scale * np.tanh(moved @ weight)).max())
    np.testing.assert_allclose(odin(inputs(), temperature=20.0, step_size=step), expected, rtol=1e-5)


def test_without_a_step_it_is_msp_at_its_temperature():
    assert torch.equal(odin(inputs(), temperature=7.0, step_size=0.0), msp(inputs(), temperature=7.0))


def test_a_step_raises_the_score():
    assert (odin(inputs(), temperature=1.0, step_size=0.01) > odin(inputs(), temperature=1.0, step_size=0.0)).all()


def test_a_gradient_of_zero_counts_as_plus():
    flat = Pixels(torch.zeros(1, 3, 1, 1), (1.0, 1.0, 1.0), lambda pixels: Similarity(pixels[:, :2, 0, 0] ** 2))
    given = ScoreInputs(flat.similarity(flat.values), 1.0, pixels=flat)
    assert odin(given, temperature=1.0, step_size=0.5).item() == pytest.approx(0.5)  # both moved alike


def test_it_works_in_a_test_loop_and_leaves_no_gradient():
    with torch.no_grad():
        score = odin(inputs())
    assert not score.requires_grad
    assert PIXELS.grad is None


@pytest.mark.parametrize("step", [-0.1, float("inf"), float("nan")])
def test_a_step_out_of_range_is_refused(step):
    with pytest.raises(ConfigError, match=r"score\.odin\.step_size="):
        odin(inputs(), step_size=step)


def test_without_pictures_it_says_so():
    with pytest.raises(ConfigError, match="pictures themselves"):
        odin(inputs()._replace(pixels=None))
