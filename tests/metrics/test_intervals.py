from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from negprompt.errors import DataError
from negprompt.metrics.intervals import over_images, over_seeds

VALUES = np.random.default_rng(0).gamma(2.0, size=400)


def test_the_interval_of_a_constant_is_a_point() -> None:
    assert over_images(np.full(50, 0.25)) == (0.25, 0.25, 0.25)
    assert over_images(np.full(6000, 0.25)) == (0.25, 0.25, 0.25)
    assert over_seeds(np.full(3, 0.25)) == (0.25, 0.25, 0.25)
    assert over_images(np.array([0.25])) == (0.25, 0.25, 0.25)


def test_over_images_equals_scipys_percentile_bootstrap_but_for_the_draws() -> None:
    theirs = stats.bootstrap((VALUES,), np.mean, n_resamples=2000, method="percentile", rng=1).confidence_interval
    ours = over_images(VALUES, resamples=2000)
    width = theirs.high - theirs.low
    assert ours.mean == VALUES.mean()
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.06 * width)


def test_many_images_have_the_interval_that_the_bootstrap_tends_to() -> None:
    many = np.random.default_rng(1).gamma(2.0, size=5001)
    limit, drawn = over_images(many), over_images(many[:-1], resamples=2000)
    assert limit.high - limit.low == pytest.approx(2 * 1.95996 * many.std() / np.sqrt(5001), rel=1e-4)
    assert drawn.high - drawn.low == pytest.approx(limit.high - limit.low, rel=0.08)


def test_the_same_seed_gives_the_same_interval_and_another_one_another() -> None:
    assert over_images(VALUES, seed=3) == over_images(VALUES, seed=3) != over_images(VALUES, seed=4)


def test_over_seeds_is_students_interval() -> None:
    values = np.array([0.81, 0.84, 0.80])
    low, high = stats.t.interval(0.95, 2, loc=values.mean(), scale=stats.sem(values))
    assert over_seeds(values) == pytest.approx((values.mean(), low, high))


def test_too_few_values_are_refused() -> None:
    with pytest.raises(DataError, match="at least one picture"):
        over_images(np.zeros(0))
    with pytest.raises(DataError, match="needs two"):
        over_seeds(np.zeros(1))
