from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from negprompt.metrics.functional import auroc
from negprompt.reports.uncertainty import bootstrap_auroc, interval_of_run, paired


def test_the_paired_test_is_scipys_over_common_seeds() -> None:
    first, second = {1: 0.90, 2: 0.91, 3: 0.95, 7: 0.1}, {3: 0.86, 2: 0.88, 1: 0.85, 9: 0.2}
    gap = paired(first, second)
    assert gap is not None
    oracle = stats.ttest_rel([0.90, 0.91, 0.95], [0.85, 0.88, 0.86])
    interval = oracle.confidence_interval(0.95)
    assert gap[:4] == pytest.approx((0.17 / 3, interval.low, interval.high, oracle.pvalue), abs=1e-12)
    assert gap.seeds == 3
    turned = paired(second, first)
    assert turned is not None
    assert turned[:4] == pytest.approx((-gap.mean, -gap.high, -gap.low, gap.p_value))


def test_one_common_seed_says_nothing_and_equal_gaps_are_certain() -> None:
    assert paired({1: 0.9}, {1: 0.8}) is None
    assert paired({1: 0.5, 2: 0.75}, {1: 0.5, 2: 0.75}) == (0.0, 0.0, 0.0, 1.0, 2)
    assert paired({1: 0.75, 2: 1.0}, {1: 0.5, 2: 0.75}) == (0.25, 0.25, 0.25, 0.0, 2)


def test_the_bootstrap_interval_holds_the_auroc_and_has_the_width_of_plain_resampling() -> None:
    random = np.random.default_rng(3)
    inside, outside = random.normal(1, 1, 400), [random.normal(0, 1, 300), random.normal(0.5, 2, 200)]
    low, high = bootstrap_auroc(inside, outside)
    assert low < np.mean([auroc(inside, one) for one in outside]) < high
    plain = []
    for _ in range(400):
        drawn = random.choice(inside, len(inside))
        plain.append(np.mean([auroc(drawn, random.choice(one, len(one))) for one in outside]))
    expected_low, expected_high = np.quantile(plain, (0.025, 0.975))
    assert (low, high) == pytest.approx((expected_low, expected_high), abs=0.2 * (expected_high - expected_low))


def test_more_pictures_make_it_narrower_and_separated_scores_make_it_a_point() -> None:
    random = np.random.default_rng(4)
    widths = []
    for number in (100, 10_000):
        low, high = bootstrap_auroc(random.normal(1, 1, number), [random.normal(0, 1, number)])
        widths.append(high - low)
    assert widths[1] < widths[0] / 5
    assert bootstrap_auroc(np.ones(50), [np.zeros(50)]) == (1.0, 1.0)
    assert bootstrap_auroc(np.ones(50), [np.ones(50)]) == (0.5, 0.5)


def test_scores_that_are_not_at_hand_have_no_interval(tmp_path: Path) -> None:
    assert interval_of_run(str(tmp_path), "mcm", ("near",)) is None
    np.savez(tmp_path / "scores.npz", **{"id/mcm": np.ones(4, np.float32), "ood/near/mcm": np.zeros(3, np.float32)})
    assert interval_of_run(str(tmp_path), "mcm", ("near",)) == (1.0, 1.0)
    assert interval_of_run(str(tmp_path), "energy", ("near",)) is None
