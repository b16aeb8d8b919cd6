"""Conformal p-values and thresholds by hand, against SciPy, and by their law."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import betabinom, false_discovery_control, kstest

from negprompt.detection.answers import Discoveries
from negprompt.detection.calibration import (
    Calibration,
    benjamini_hochberg,
    check_alpha,
    default_alpha,
    images_needed,
    p_values,
    rejecting_rank,
    threshold,
)
from negprompt.detection.stream import Answer
from negprompt.errors import ConfigError, PromptMismatchError

FOUR = Calibration.of([0.8, 0.2, 0.6, 0.4], "four images")


def random_calibration(n, seed=0):
    return Calibration.of(np.random.default_rng(seed).normal(size=n), "noise")


# --- p-values ------------------------------------------------------------------------------------------------------


def test_p_values_by_hand():
    np.testing.assert_array_equal(p_values([0.1, 0.3, 0.7, 0.9], FOUR), [1 / 5, 2 / 5, 4 / 5, 5 / 5])


def test_a_tie_counts_as_far_out_so_that_p_is_never_too_small():
    assert p_values([0.2], FOUR) == pytest.approx([2 / 5])
    equal = Calibration.of([0.5] * 9, "ties")
    np.testing.assert_array_equal(p_values([0.5, 0.4], equal), [1.0, 0.1])


def test_the_smallest_p_value_is_what_n_allows_and_the_largest_is_one():
    assert p_values([-np.inf, np.inf], random_calibration(99)).tolist() == [0.01, 1.0]


def test_p_values_see_only_the_order_of_scores():
    calibration, scores = random_calibration(50), np.random.default_rng(1).normal(size=30)
    bent = Calibration.of(np.exp(calibration.scores), "noise, bent")
    np.testing.assert_array_equal(p_values(np.exp(scores), bent), p_values(scores, calibration))


def test_p_values_of_exchangeable_scores_are_uniform_over_calibrations():
    rng = np.random.default_rng(2)
    n = 999
    drawn = [p_values(rng.normal(size=1), Calibration.of(rng.normal(size=n), "noise"))[0] for _ in range(2000)]
    assert kstest(drawn, "uniform").pvalue > 0.01
    for alpha in (0.05, 0.2):
        assert np.mean(np.array(drawn) <= alpha) == pytest.approx(alpha, abs=3 * np.sqrt(alpha * (1 - alpha) / 2000))


def test_the_number_rejected_follows_the_beta_binomial_law():
    n, m, alpha, splits = 49, 60, 0.1, 1500
    rng = np.random.default_rng(3)
    counts = []
    for _ in range(splits):
        scores = rng.gumbel(size=n + m)
        counts.append(int((p_values(scores[n:], Calibration.of(scores[:n], "noise")) <= alpha).sum()))
    k = rejecting_rank(alpha, n)
    law = betabinom(m, k, n + 1 - k)
    assert k == 5
    assert np.mean(counts) == pytest.approx(law.mean(), abs=4 * law.std() / np.sqrt(splits))
    inside = np.mean((counts >= law.ppf(0.025)) & (counts <= law.ppf(0.975)))
    assert 0.93 < inside <= 1


# --- thresholds ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("alpha", [0.2, 0.25, 0.4, 0.6, 0.99])
def test_a_threshold_decides_as_p_values_do(alpha):
    scores = np.array([0.1, 0.2, 0.25, 0.4, 0.5, 0.6, 0.8, 0.9])
    np.testing.assert_array_equal(scores < threshold(FOUR, alpha), p_values(scores, FOUR) <= alpha)


def test_the_default_threshold_keeps_95_per_cent_of_the_calibration_images():
    for n in (19, 20, 100, 317):
        calibration = random_calibration(n)
        kept = (calibration.scores >= threshold(calibration, default_alpha(calibration))).mean()
        assert kept >= 0.95


def test_ranks_are_compared_as_p_values_are():
    # 0.29 * 100 is 28.999999999999996, and 29 / 100 is 0.29.
    assert rejecting_rank(0.29, 99) == 29
    for n in range(1, 60):
        for k in range(1, n + 1):
            assert rejecting_rank(k / (n + 1), n) == k


def test_the_images_that_an_alpha_needs():
    assert [images_needed(alpha) for alpha in (0.5, 0.1, 0.05, 0.01, 0.001)] == [1, 9, 19, 99, 999]
    for n in range(1, 200):
        assert images_needed(1 / (n + 1)) == n


def test_an_alpha_below_what_n_allows_says_how_many_images_it_needs():
    check_alpha(0.2, FOUR)
    with pytest.raises(ConfigError, match=r"0.05 cannot be promised with 4 .* 0.2\. Calibrate on at least 19"):
        check_alpha(0.05, FOUR)
    assert default_alpha(FOUR) == 0.2


@pytest.mark.parametrize("alpha", [0, 1, -0.1, 1.5, np.nan, True, "0.1", None])
def test_an_alpha_that_is_no_share_is_refused(alpha):
    with pytest.raises(ConfigError, match="a share between 0 and 1"):
        check_alpha(alpha, FOUR)


@pytest.mark.parametrize(
    ("scores", "what"), [([], "no image"), ([0.1, np.nan], "not finite"), ([np.inf], "not finite")]
)
def test_a_calibration_without_finite_scores_is_refused(scores, what):
    with pytest.raises(ConfigError, match=what):
        Calibration.of(scores, "nothing")


def test_a_calibration_survives_json():
    again = Calibration.from_json(FOUR.to_json())
    np.testing.assert_array_equal(again.scores, FOUR.scores)
    assert again[1:] == FOUR[1:]
    with pytest.raises(PromptMismatchError, match="damaged"):
        Calibration.from_json({"kind": "held_out"})
    with pytest.raises(PromptMismatchError, match="later version"):
        Calibration.from_json({**FOUR.to_json(), "kind": "oracle"})


def test_only_held_out_images_carry_a_guarantee():
    assert "at most 0.2" in FOUR.promise(0.2)
    assert "without a guarantee" in Calibration.of(FOUR.scores, "folds", "cross_validation").promise(0.2)


# --- Benjamini-Hochberg --------------------------------------------------------------------------------------------


def test_benjamini_hochberg_is_scipys():
    rng = np.random.default_rng(4)
    for rate in (0.01, 0.05, 0.2, 0.5):
        p = np.round(np.concatenate([rng.uniform(size=80), rng.uniform(0, 0.02, size=20)]), 3)  # with ties
        np.testing.assert_array_equal(benjamini_hochberg(p, rate), false_discovery_control(p) <= rate)


def test_benjamini_hochberg_rejects_nothing_of_nothing_and_nothing_of_large_p():
    assert benjamini_hochberg([], 0.1).tolist() == []
    assert not benjamini_hochberg([0.3, 0.5, 1.0], 0.1).any()


def test_benjamini_hochberg_does_not_see_the_order():
    p = np.random.default_rng(5).uniform(size=40) ** 3
    order = np.random.default_rng(6).permutation(40)
    np.testing.assert_array_equal(benjamini_hochberg(p[order], 0.2), benjamini_hochberg(p, 0.2)[order])


def test_counts_of_a_stream_decide_as_the_whole_list_does():
    p = np.round(np.random.default_rng(7).uniform(size=200) ** 2, 2) + 0.01
    counted = Discoveries()
    for start in range(0, 200, 30):
        counted.add([Answer("x", p_value=float(one)) for one in p[start : start + 30]])
    cut = counted.cut(0.3)
    np.testing.assert_array_equal(p <= cut, benjamini_hochberg(p, 0.3))
    assert counted.up_to(cut) == benjamini_hochberg(p, 0.3).sum() > 0


@pytest.mark.parametrize("rate", [0, 1, np.nan])
def test_a_rate_that_is_no_share_is_refused(rate):
    with pytest.raises(ConfigError, match="false_discovery_rate"):
        benjamini_hochberg([0.1], rate)
