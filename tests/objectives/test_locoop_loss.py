"""LoCoOp's term: which regions count, and what is asked of them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.special import softmax

from negprompt.errors import ConfigError
from negprompt.objectives.locoop import check_top_k, default_top_k, irrelevant_regions, negative_entropy

GENERATOR = torch.Generator().manual_seed(1)
LOCAL = torch.rand(3, 8, 6, generator=GENERATOR)
LABELS = torch.tensor([0, 4, 5])


@pytest.mark.parametrize("top_k", [1, 2, 5])
def test_a_region_counts_where_the_true_class_is_not_among_the_nearest(top_k):
    nearest = LOCAL.topk(top_k, dim=2).indices
    expected = ~(nearest == LABELS.view(3, 1, 1)).any(dim=2)
    assert torch.equal(irrelevant_regions(LOCAL, LABELS, top_k), expected)
    assert expected.any()


def test_as_many_nearest_as_classes_select_nothing_and_fewer_select_more():
    counts = [int(irrelevant_regions(LOCAL, LABELS, top_k).sum()) for top_k in range(1, 7)]
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] == 0


def test_the_term_is_the_entropy_of_the_selected_regions():
    selected = irrelevant_regions(LOCAL, LABELS, 2)
    shares = softmax(100 * LOCAL.double().numpy(), axis=2)
    expected = (shares * np.log(shares + 1e-5)).sum(axis=2)[selected.numpy()].sum()
    assert float(negative_entropy(LOCAL, selected, 100.0)) == pytest.approx(expected, rel=1e-4)


def test_nothing_selected_is_zero_with_a_gradient_of_zero():
    local = LOCAL.clone().requires_grad_()
    negative_entropy(local, torch.zeros(3, 8, dtype=torch.bool), 100.0).backward()
    assert local.grad is not None
    assert float(local.grad.abs().max()) == 0


def test_equal_shares_are_the_minimum():
    flat = float(negative_entropy(torch.zeros(1, 1, 6), torch.ones(1, 1, dtype=torch.bool), 100.0))
    assert flat == pytest.approx(-math.log(6), abs=1e-4)
    assert flat < float(negative_entropy(LOCAL[:1, :1], torch.ones(1, 1, dtype=torch.bool), 100.0))


def test_the_published_k_scales_and_a_k_that_selects_nothing_is_refused():
    assert [default_top_k(number) for number in (1000, 100, 90, 10, 2)] == [200, 20, 18, 2, 1]
    check_top_k(5, 6)
    with pytest.raises(ConfigError, match=r"method\.top_k=200 with 90 training classes.*for example 18"):
        check_top_k(200, 90)
    with pytest.raises(ConfigError, match="at least 2 training classes"):
        check_top_k(1, 1)
