from __future__ import annotations

import math

import pytest
import torch

from negprompt.scores.mcm import mcm
from negprompt.scores.msp import msp
from negprompt.types import ScoreInputs, Similarity


def test_equals_the_softmax_of_the_logits_written_out() -> None:
    inputs = ScoreInputs(Similarity(torch.tensor([[0.30, 0.28]], dtype=torch.float64)), 100.0)
    assert msp(inputs).item() == pytest.approx(1 / (1 + math.exp(-2.0)), abs=1e-12)
    assert msp(inputs, temperature=4.0).item() == pytest.approx(1 / (1 + math.exp(-0.5)), abs=1e-12)


def test_msp_is_mcm_at_one_over_the_logit_scale() -> None:
    cosines = torch.rand(6, 9, generator=torch.Generator().manual_seed(1))
    inputs = ScoreInputs(Similarity(cosines), 50.0)
    torch.testing.assert_close(msp(inputs), mcm(inputs, temperature=1 / 50), rtol=1e-12, atol=0)


def test_confident_images_do_not_tie_at_one() -> None:
    # float32 rounds both shares to exactly 1.
    inputs = ScoreInputs(Similarity(torch.tensor([[0.40, 0.20], [0.45, 0.20]])), 100.0)
    scores = msp(inputs)
    assert scores[1] > scores[0]
    assert scores.float().tolist() == [1.0, 1.0]
