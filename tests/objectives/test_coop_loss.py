from __future__ import annotations

import math

import pytest
import torch

from negprompt.objectives.coop import positive_loss
from negprompt.types import Similarity


def test_equals_equation_2_written_out() -> None:
    similarity = Similarity(torch.tensor([[0.30, 0.28, 0.25], [0.10, 0.12, 0.11]]))
    first = math.log(sum(math.exp(z) for z in (30, 28, 25))) - 28
    second = math.log(sum(math.exp(z) for z in (10, 12, 11))) - 12
    loss = positive_loss(similarity, torch.tensor([1, 1]), 100.0)
    assert loss.item() == pytest.approx((first + second) / 2, abs=1e-5)


def test_one_class_has_no_loss() -> None:
    assert positive_loss(Similarity(torch.rand(4, 1)), torch.zeros(4, dtype=torch.long), 100.0).item() == 0.0


def test_equal_cosines_cost_log_k() -> None:
    loss = positive_loss(Similarity(torch.full((3, 8), 0.2)), torch.tensor([0, 3, 7]), 100.0)
    assert loss.item() == pytest.approx(math.log(8), abs=1e-6)


def test_gradient_is_the_scale_times_softmax_minus_target_over_the_batch() -> None:
    cosines = (torch.rand(5, 4, generator=torch.Generator().manual_seed(0)) * 0.1).requires_grad_()
    labels = torch.tensor([0, 3, 1, 1, 2])
    (gradient,) = torch.autograd.grad(positive_loss(Similarity(cosines), labels, 20.0), cosines)
    softmax = torch.softmax(20.0 * cosines.detach(), dim=1)
    expected = 20.0 * (softmax - torch.eye(4)[labels]) / 5
    torch.testing.assert_close(gradient, expected)


def test_half_precision_cosines_are_raised_to_float32() -> None:
    cosines = torch.tensor([[0.30, 0.28]], dtype=torch.bfloat16)
    loss = positive_loss(Similarity(cosines), torch.tensor([0]), 100.0)
    assert loss.dtype == torch.float32
    assert loss.item() == positive_loss(Similarity(cosines.float()), torch.tensor([0]), 100.0).item()
