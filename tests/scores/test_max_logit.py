from __future__ import annotations

import torch

from negprompt.scores.max_logit import max_logit
from negprompt.types import ScoreInputs, Similarity


def test_is_the_largest_cosine_times_the_logit_scale() -> None:
    cosines = torch.tensor([[0.125, 0.25], [-0.5, -0.75]])
    assert max_logit(ScoreInputs(Similarity(cosines), 100.0)).tolist() == [25.0, -50.0]


def test_other_classes_play_no_part() -> None:
    few = max_logit(ScoreInputs(Similarity(torch.tensor([[0.25]])), 100.0))
    many = max_logit(ScoreInputs(Similarity(torch.tensor([[0.25, 0.24, -0.9]])), 100.0))
    assert torch.equal(few, many)
