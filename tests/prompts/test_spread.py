"""The two cosines that show a collapse, against sums over all pairs."""

from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from negprompt.prompts.spread import cosine_across_classes, cosine_within_class


def text(classes, negatives, seed=0):
    return F.normalize(torch.randn(classes, negatives, 5, generator=torch.Generator().manual_seed(seed)), dim=-1)


def mean_cosine(pairs):
    return sum(float(one @ other) for one, other in pairs) / len(pairs)


@pytest.mark.parametrize(("classes", "negatives"), [(2, 1), (3, 2), (5, 3)])
def test_across_classes_is_the_mean_over_all_pairs_of_two_classes(classes, negatives):
    features = text(classes, negatives)
    pairs = [
        (one, other)
        for i, j in itertools.permutations(range(classes), 2)
        for one in features[i]
        for other in features[j]
    ]
    assert float(cosine_across_classes(features)) == pytest.approx(mean_cosine(pairs), abs=1e-6)


@pytest.mark.parametrize(("classes", "negatives"), [(1, 2), (3, 2), (5, 4)])
def test_within_a_class_is_the_mean_over_all_pairs_of_its_negatives(classes, negatives):
    features = text(classes, negatives)
    pairs = [pair for one_class in features for pair in itertools.permutations(one_class, 2)]
    assert float(cosine_within_class(features)) == pytest.approx(mean_cosine(pairs), abs=1e-6)


def test_equal_negatives_have_cosine_one():
    features = text(1, 1).expand(4, 3, -1)
    assert float(cosine_across_classes(features)) == pytest.approx(1.0, abs=1e-6)
    assert float(cosine_within_class(features)) == pytest.approx(1.0, abs=1e-6)


def test_where_there_is_no_pair_the_cosine_is_zero():
    assert float(cosine_across_classes(text(1, 3))) == 0.0
    assert float(cosine_within_class(text(3, 1))) == 0.0
