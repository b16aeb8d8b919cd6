from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from negprompt.errors import ConfigError, DataError
from negprompt.metrics import functional

Array = npt.NDArray[np.float64]
Pair = tuple[Array, Array]

KEYS = ["auroc", "aupr_in", "aupr_out", "fpr95_id_positive", "fpr95_ood_positive", "n_id", "n_ood"]


def gaussian(num_id: int = 503, num_ood: int = 811, seed: int = 0, decimals: int = 12) -> Pair:
    generator = np.random.default_rng(seed)
    return generator.normal(1.0, 1.0, num_id).round(decimals), generator.normal(0.0, 1.5, num_ood).round(decimals)


PAIRS: dict[str, Pair] = {
    "continuous": gaussian(),
    "many ties": gaussian(decimals=1),
    "almost all tied": gaussian(decimals=0),
    "one of each": (np.array([0.3]), np.array([0.2])),
    "one id": (np.array([0.3]), gaussian()[1]),
    "one ood": (gaussian()[0], np.array([0.3])),
    "twenty id": gaussian(20, 33, seed=1),
    "nineteen id": gaussian(19, 7, seed=2, decimals=1),
    "constant": (np.full(30, 0.2), np.full(50, 0.2)),
    "near 28": tuple(28 + 0.3 * side for side in gaussian()),  # type: ignore[dict-item]
    "tiny steps": tuple(1 / 3000 + 1e-13 * side for side in gaussian()),  # type: ignore[dict-item]
    "negative": tuple(side - 1000 for side in gaussian()),  # type: ignore[dict-item]
}
every_pair = pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS.keys())


def labelled(positive: Array, negative: Array) -> Pair:
    return np.r_[np.ones(len(positive)), np.zeros(len(negative))], np.r_[positive, negative]


def sklearn_fpr95(positive: Array, negative: Array) -> float:
    false_rate, true_rate, _ = roc_curve(*labelled(positive, negative), drop_intermediate=False)
    return float(false_rate[np.argmax(true_rate >= 0.95)])


def copied_mcm_fpr95(positive: Array, negative: Array) -> float:
    """The rule as the released code of MCM, LoCoOp and NegPrompt computes it, step for step."""
    label, score = labelled(positive, negative)
    order = np.argsort(score, kind="mergesort")[::-1]
    label, score = label[order].astype(bool), score[order]
    last_of_value = np.r_[np.where(np.diff(score))[0], label.size - 1]
    true_count = np.cumsum(label)[last_of_value]
    false_count = 1 + last_of_value - true_count
    recall = true_count / true_count[-1]
    backwards = slice(true_count.searchsorted(true_count[-1]), None, -1)
    recall, false_count = np.r_[recall[backwards], 1], np.r_[false_count[backwards], 0]
    return float(false_count[np.argmin(np.abs(recall - 0.95))] / (len(label) - label.sum()))


@every_pair
def test_auroc_equals_scikit_learn(pair: Pair) -> None:
    assert functional.auroc(*pair) == pytest.approx(roc_auc_score(*labelled(*pair)), abs=1e-12)


@every_pair
def test_aupr_equals_scikit_learn_in_both_directions(pair: Pair) -> None:
    id_scores, ood_scores = pair
    expected_in = average_precision_score(*labelled(id_scores, ood_scores))
    expected_out = average_precision_score(*labelled(-ood_scores, -id_scores))
    assert functional.aupr_in(*pair) == pytest.approx(expected_in, abs=1e-12)
    assert functional.aupr_out(*pair) == pytest.approx(expected_out, abs=1e-12)


@every_pair
def test_fpr95_equals_scikit_learns_full_roc_curve_in_both_directions(pair: Pair) -> None:
    id_scores, ood_scores = pair
    assert functional.fpr95_id_positive(*pair) == sklearn_fpr95(id_scores, ood_scores)
    assert functional.fpr95_ood_positive(*pair) == sklearn_fpr95(-ood_scores, -id_scores)


@every_pair
def test_fpr95_equals_a_search_over_all_thresholds(pair: Pair) -> None:
    id_scores, ood_scores = pair
    allowed = [t for t in np.r_[id_scores, ood_scores] if np.mean(id_scores >= t) >= 0.95]
    assert functional.fpr95_id_positive(*pair) == min(np.mean(ood_scores >= t) for t in allowed)
    assert functional.id_threshold(id_scores) == max(t for t in id_scores if np.mean(id_scores >= t) >= 0.95)


@every_pair
def test_auroc_equals_the_count_over_all_pairs(pair: Pair) -> None:
    id_scores, ood_scores = (side[:200] for side in pair)
    difference = id_scores[:, None] - ood_scores[None, :]
    wins = np.mean((difference > 0) + 0.5 * (difference == 0))
    assert functional.auroc(id_scores, ood_scores) == pytest.approx(wins, abs=1e-12)


@every_pair
def test_mcm_rule_equals_the_copied_function(pair: Pair) -> None:
    assert functional.fpr95_id_positive(*pair, rule="mcm") == copied_mcm_fpr95(*pair)


def test_mcm_rule_equals_the_copied_function_on_many_small_cases() -> None:
    generator = np.random.default_rng(3)
    for _ in range(400):
        num_id, num_ood, values = generator.integers(1, 45), generator.integers(1, 20), generator.integers(1, 60)
        pair = (generator.integers(0, values, num_id) / 7, generator.integers(0, values, num_ood) / 7)
        assert functional.fpr95_id_positive(*pair, rule="mcm") == copied_mcm_fpr95(*pair)
        assert functional.fpr95_id_positive(*pair) == sklearn_fpr95(*pair)


def test_the_mcm_rule_goes_down_to_the_lowest_score_of_the_same_recall() -> None:
    # 19 of 20 ID images reach 1.0 and 0.2 alike: our threshold is the first, the copied function's the second.
    id_scores, ood_scores = np.arange(20.0), np.array([-1.0, 0.2, 0.5, 1.0])
    assert functional.fpr95_id_positive(id_scores, ood_scores) == 0.25
    assert functional.fpr95_id_positive(id_scores, ood_scores, rule="mcm") == 0.75


@every_pair
def test_swapping_id_and_ood_turns_auroc_around(pair: Pair) -> None:
    id_scores, ood_scores = pair
    swapped = functional.auroc(ood_scores, id_scores)
    assert swapped == pytest.approx(1 - functional.auroc(id_scores, ood_scores), abs=1e-12)


def test_constant_scores_are_chance() -> None:
    metrics = functional.ood_metrics(np.full(30, 0.2), np.full(50, 0.2))
    assert metrics["auroc"] == 0.5
    assert metrics["fpr95_id_positive"] == 1.0
    assert metrics["aupr_in"] == pytest.approx(30 / 80, abs=1e-12)
    assert metrics["aupr_out"] == pytest.approx(50 / 80, abs=1e-12)


def test_perfect_separation() -> None:
    metrics = functional.ood_metrics(np.array([0.8, 0.9, 0.7]), np.array([0.1, 0.6]))
    assert metrics == dict.fromkeys(KEYS[:3], 1.0) | dict.fromkeys(KEYS[3:5], 0.0) | {"n_id": 3, "n_ood": 2}


def test_values_counted_by_hand() -> None:
    # Four ID, three OOD; pairs won: 3 + 3 + 2 + 1 (ties at 0.5: one half each)
    id_scores, ood_scores = np.array([0.9, 0.8, 0.5, 0.3]), np.array([0.5, 0.4, 0.2])
    assert functional.auroc(id_scores, ood_scores) == pytest.approx((3 + 3 + 2.5 + 1) / 12, abs=1e-15)
    assert functional.id_threshold(id_scores) == 0.3
    assert functional.fpr95_id_positive(id_scores, ood_scores) == 2 / 3
    # All three OOD are caught at s <= 0.5, which rejects the ID images 0.5 and 0.3.
    assert functional.fpr95_ood_positive(id_scores, ood_scores) == 0.5
    # Thresholds 0.9, 0.8, 0.5, 0.4, 0.3, 0.2 with precisions 1, 1, 3/4, 3/5, 4/6, 4/7
    assert functional.aupr_in(id_scores, ood_scores) == pytest.approx((1 + 1 + 3 / 4 + 4 / 6) / 4, abs=1e-15)


def test_exactly_95_percent_is_enough() -> None:
    id_scores = np.arange(20.0)
    assert functional.id_threshold(id_scores) == 1.0
    assert functional.fpr95_id_positive(id_scores, np.array([0.5, 1.0])) == 0.5


@every_pair
def test_auroc_lies_within_the_bound_that_fpr95_sets(pair: Pair) -> None:
    id_scores, _ = pair
    recall = np.mean(id_scores >= functional.id_threshold(id_scores))
    false_rate = functional.fpr95_id_positive(*pair)
    assert recall * (1 - false_rate) <= functional.auroc(*pair) + 1e-12
    assert functional.auroc(*pair) <= 1 - (1 - recall) * false_rate + 1e-12


@every_pair
def test_only_the_ranks_count(pair: Pair) -> None:
    id_scores, _ = pair
    ranks = np.unique(np.concatenate(pair), return_inverse=True)[1]
    of_ranks = functional.ood_metrics(ranks[: len(id_scores)], ranks[len(id_scores) :])
    assert of_ranks == functional.ood_metrics(*pair)


def test_scores_near_28_are_not_squashed() -> None:
    # torchmetrics passes such scores through a sigmoid: in float32 all become 1, and its AUROC 0.5.
    id_scores, ood_scores = (torch.tensor(side, dtype=torch.float32) for side in PAIRS["near 28"])
    expected = roc_auc_score(*labelled(id_scores.double().numpy(), ood_scores.double().numpy()))
    assert functional.auroc(id_scores, ood_scores) == pytest.approx(expected, abs=1e-12)
    assert functional.auroc(id_scores, ood_scores) > 0.6


def test_tensors_and_arrays_of_any_precision_are_taken() -> None:
    id_scores, ood_scores = gaussian(40, 50)
    expected = functional.ood_metrics(id_scores.astype(np.float16), ood_scores.astype(np.float16))
    tensors = (torch.tensor(id_scores).half().requires_grad_(), torch.tensor(ood_scores).half())
    assert functional.ood_metrics(*tensors) == expected
    bfloat = (torch.tensor(id_scores).bfloat16(), torch.tensor(ood_scores).bfloat16())
    assert functional.ood_metrics(*bfloat) == functional.ood_metrics(bfloat[0].float(), bfloat[1].float())
    assert functional.auroc(np.array([2, 3]), np.array([1])) == 1.0


def test_the_names_are_those_of_metrics_json() -> None:
    metrics = functional.ood_metrics(*gaussian(40, 50))
    assert list(metrics) == KEYS
    assert (metrics["n_id"], metrics["n_ood"]) == (40, 50)
    assert {type(metrics[key]) for key in KEYS[:5]} == {float}
    assert {type(metrics[key]) for key in KEYS[5:]} == {int}


def test_the_order_of_images_does_not_matter() -> None:
    id_scores, ood_scores = gaussian(decimals=1)
    assert functional.ood_metrics(id_scores[::-1], np.sort(ood_scores)) == functional.ood_metrics(id_scores, ood_scores)


@pytest.mark.parametrize("metric", ["auroc", "aupr_in", "aupr_out", "fpr95_id_positive", "fpr95_ood_positive"])
@pytest.mark.parametrize("damaged", [float("nan"), float("inf"), -float("inf")])
def test_a_damaged_score_is_an_error_that_says_where(metric: str, damaged: float) -> None:
    scores = np.array([0.1, 0.2, damaged, damaged])
    with pytest.raises(DataError, match=r"id_scores holds 2 scores of 4 .* position 2"):
        getattr(functional, metric)(scores, np.array([0.1]))
    with pytest.raises(DataError, match=r"ood_scores holds 2 scores of 4"):
        getattr(functional, metric)(torch.tensor([0.1]), torch.tensor(scores))


@pytest.mark.parametrize("metric", ["auroc", "aupr_in", "aupr_out", "fpr95_id_positive", "fpr95_ood_positive"])
def test_an_empty_side_or_a_matrix_is_an_error(metric: str) -> None:
    with pytest.raises(DataError, match=r"ood_scores has the shape \(0,\)"):
        getattr(functional, metric)(np.array([0.1]), np.array([]))
    with pytest.raises(DataError, match=r"id_scores has the shape \(2, 1\)"):
        getattr(functional, metric)(torch.zeros(2, 1), np.array([0.1]))


def test_an_unknown_rule_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"rule='mmc' .*did you mean 'mcm'\? Allowed: at_least, mcm"):
        functional.fpr95_id_positive(np.array([1.0]), np.array([0.0]), rule="mmc")


def test_the_roc_curve_is_scikit_learns_and_its_area_the_auroc() -> None:
    generator = np.random.default_rng(5)
    positive, negative = generator.integers(3, 30, 200).astype(float), generator.integers(0, 25, 150).astype(float)
    curve = functional.roc_curve(positive, negative)
    labels, scores = np.r_[np.ones(200), np.zeros(150)], np.r_[positive, negative]
    ood, own, _ = roc_curve(labels, scores, drop_intermediate=False)
    assert np.array_equal(curve.ood, ood)
    assert np.array_equal(curve.id, own)
    assert np.trapezoid(curve.id, curve.ood) == pytest.approx(functional.auroc(positive, negative), abs=1e-12)
