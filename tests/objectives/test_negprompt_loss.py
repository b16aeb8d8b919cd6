from __future__ import annotations

import itertools
import math

import pytest
import torch
import torch.nn.functional as F  # noqa: N812  (the field's name)
from torch import Tensor

from negprompt.errors import ConfigError
from negprompt.objectives import negprompt as losses
from negprompt.objectives.products import TextProducts, text_products
from negprompt.types import Similarity

LABELS = torch.tensor([0, 2, 1])


def cosines(batch: int = 3, classes: int = 3, negatives: int = 2) -> Similarity:
    generator = torch.Generator().manual_seed(6)
    positive = torch.rand(batch, classes, generator=generator) * 0.2
    return Similarity(positive, torch.rand(batch, classes, negatives, generator=generator) * 0.2)


def text(classes: int = 4, negatives: int = 3, width: int = 8) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(7)
    positive = torch.randn(classes, width, generator=generator)
    negative = torch.randn(classes, negatives, width, generator=generator) + positive[:, None]
    return F.normalize(positive, dim=-1), F.normalize(negative, dim=-1)


def alone(negative: Tensor) -> TextProducts:
    """Products of negatives whose positives do not matter."""
    return text_products(negative.detach()[:, 0], negative)


# NIS, Eq. 4


def test_nis_equals_the_formula_written_out() -> None:
    similarity = Similarity(torch.zeros(1, 2), torch.tensor([[[0.30, 0.10], [0.20, 0.00]]]))
    logits = [3.0, 1.0, 2.0, 0.0]
    log_sum = math.log(sum(map(math.exp, logits)))
    expected = sum(0.25 * (log_sum - z) for z in logits)
    assert losses.negatives_uniform(similarity, LABELS[:1], 10.0).item() == pytest.approx(expected, abs=1e-6)


def test_nis_is_the_divergence_from_uniform_plus_its_floor() -> None:
    similarity = cosines()
    assert similarity.negative is not None
    softmax = torch.softmax(100.0 * similarity.negative.flatten(1).double(), dim=1)
    divergence = (1 / 6 * ((1 / 6) / softmax).log()).sum(dim=1).mean()
    loss = losses.negatives_uniform(similarity, LABELS, 100.0)
    assert loss.item() == pytest.approx(divergence.item() + losses.nis_floor(3, 2), abs=1e-5)
    assert loss.item() > losses.nis_floor(3, 2)


def test_nis_reaches_its_floor_when_all_negatives_are_equal() -> None:
    similarity = Similarity(torch.rand(4, 5), torch.full((4, 5, 3), 0.17))
    loss = losses.negatives_uniform(similarity, LABELS, 100.0)
    assert loss.item() == pytest.approx(math.log(15), abs=1e-5)
    assert losses.nis_floor(5, 3) == math.log(15)


def test_nis_is_blind_to_a_shift_of_each_image_and_to_the_positives() -> None:
    positive, negative, _ = cosines()
    assert negative is not None
    shifted = Similarity(positive + 0.5, negative + torch.tensor([0.3, -0.1, 0.2])[:, None, None])
    before = losses.negatives_uniform(cosines(), LABELS, 50.0)
    torch.testing.assert_close(losses.negatives_uniform(shifted, LABELS, 50.0), before)


def test_nis_gradient_is_softmax_minus_uniform_over_the_batch() -> None:
    positive, negative, _ = cosines(batch=3, classes=3, negatives=2)
    assert negative is not None
    logits = (10 * negative).requires_grad_()
    (gradient,) = torch.autograd.grad(losses.negatives_uniform(Similarity(positive, logits), LABELS, 1.0), logits)
    softmax = torch.softmax(logits.detach().flatten(1), dim=1)
    expected = ((softmax - 1 / 6) / 3).view_as(logits)
    torch.testing.assert_close(gradient, expected)


def test_nis_of_huge_logits_is_finite() -> None:
    similarity = Similarity(torch.zeros(1, 2), torch.tensor([[[1.0], [-1.0]]]))
    assert losses.negatives_uniform(similarity, LABELS[:1], 1e4).item() == pytest.approx(1e4, rel=1e-6)


# NIS, forms of the released code


def test_joint_form_is_the_uniform_cross_entropy_with_the_positives_in_it() -> None:
    positive, negative, _ = cosines()
    assert negative is not None
    logits = 30.0 * torch.cat([positive, negative.flatten(1)], dim=1)
    expected = F.cross_entropy(logits, torch.full_like(logits, 1 / 9))
    torch.testing.assert_close(losses.joint_uniform(Similarity(positive, negative), LABELS, 30.0), expected)


def test_joint_form_pulls_every_negative_in_when_the_true_positive_dominates() -> None:
    negative = torch.tensor([[[0.1], [0.12]]], requires_grad=True)
    similarity = Similarity(torch.tensor([[0.4, 0.1]]), negative)
    (gradient,) = torch.autograd.grad(losses.joint_uniform(similarity, LABELS[:1], 100.0), negative)
    assert (gradient < 0).all()  # descent raises them


def test_margin_form_equals_torchs_multilabel_soft_margin_in_class_major_order() -> None:
    positive, negative, _ = cosines()
    assert negative is not None
    columns = torch.cat([positive[:, :, None], negative], dim=2).flatten(1)
    targets = torch.zeros(3, 9)
    for row, label in enumerate(LABELS.tolist()):
        targets[row, 3 * label : 3 * label + 3] = 1
    expected = F.multilabel_soft_margin_loss(40.0 * columns, targets)
    torch.testing.assert_close(losses.multilabel_margin(Similarity(positive, negative), LABELS, 40.0), expected)


def test_margin_form_pushes_negatives_of_other_classes_and_leaves_the_own_ones() -> None:
    negative = torch.full((1, 3, 2), 0.15).requires_grad_()
    similarity = Similarity(torch.full((1, 3), 0.15), negative)
    (gradient,) = torch.autograd.grad(losses.multilabel_margin(similarity, torch.tensor([1]), 100.0), negative)
    per_class = gradient.sum(dim=2)[0]
    assert per_class[0] > 1
    assert per_class[2] > 1
    assert abs(per_class[1]) < 1e-4


@pytest.mark.parametrize("form", losses.NIS_FORMS.values())
@pytest.mark.parametrize("negative", [None, torch.zeros(1, 2, 0)])
def test_every_nis_form_refuses_a_run_without_negatives(form: object, negative: Tensor | None) -> None:
    assert callable(form)
    with pytest.raises(ConfigError, match="num_negatives"):
        form(Similarity(torch.zeros(1, 2), negative), LABELS[:1], 100.0)


# NPD, Eq. 5


def test_npd_equals_the_double_sum() -> None:
    positive, negative = text()
    expected = -sum(float(negative[j, i] @ positive[j]) for j, i in itertools.product(range(4), range(3))) / 12
    assert losses.npd_attract(text_products(positive, negative)).item() == pytest.approx(expected, abs=1e-6)


def test_negatives_equal_to_their_positive_give_minus_one_and_plus_one() -> None:
    positive, _ = text()
    negative = positive[:, None].expand(-1, 3, -1)
    assert losses.npd_attract(text_products(positive, negative)).item() == pytest.approx(-1, abs=1e-6)
    assert losses.nnd_pairwise(alone(negative)).item() == pytest.approx(1, abs=1e-6)
    assert losses.nnd_mean_norm(alone(negative)).item() == pytest.approx(0, abs=1e-6)


def test_npd_of_the_released_code_is_one_constant_away() -> None:
    positive, negative = text()
    one_minus_cosine = (1 - (negative * positive[:, None]).sum(-1)).mean(dim=1).mean()
    attract = losses.npd_attract(text_products(positive, negative))
    torch.testing.assert_close(1 + attract, one_minus_cosine)  # its OE branch
    torch.testing.assert_close(losses.npd_repel(text_products(positive, negative)), -one_minus_cosine)  # its MSP branch
    torch.testing.assert_close(losses.npd_repel(text_products(positive, negative)), -1 - attract)


@pytest.mark.parametrize(("form", "closer"), [(losses.npd_attract, True), (losses.npd_repel, False)])
def test_a_step_down_npd_moves_negatives_as_its_name_says(form: object, *, closer: bool) -> None:
    assert callable(form)
    positive, negative = text()
    negative.requires_grad_()
    (gradient,) = torch.autograd.grad(form(text_products(positive, negative)), negative)
    moved = F.normalize(negative.detach() - 0.1 * gradient, dim=-1)
    before, after = ((n * positive[:, None]).sum(-1).mean() for n in (negative.detach(), moved))
    assert bool(after > before) is closer


# NND, Eq. 6


def test_nnd_equals_the_triple_sum() -> None:
    _, negative = text()
    pairs = [(j, i, k) for j in range(4) for i in range(3) for k in range(3) if i != k]
    expected = sum(float(negative[j, i] @ negative[j, k]) for j, i, k in pairs) / (4 * 3 * 2)
    assert losses.nnd_pairwise(alone(negative)).item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("negatives", [2, 3, 5])
def test_nnd_of_negatives_that_sum_to_zero_is_its_lower_bound(negatives: int) -> None:
    simplex = torch.eye(negatives) - 1 / negatives
    value = losses.nnd_pairwise(alone(simplex.expand(4, -1, -1))).item()
    assert value == pytest.approx(-1 / (negatives - 1), abs=1e-6)


def test_squared_length_of_the_mean_negative_is_tied_to_the_pairwise_form() -> None:
    _, negative = text(negatives=5)
    for j in range(4):
        pairwise = losses.nnd_pairwise(alone(negative[j : j + 1]))
        length = losses.nnd_mean_norm(alone(negative[j : j + 1])) + 1
        torch.testing.assert_close(length**2, 1 / 5 + 4 / 5 * pairwise)


def test_mean_norm_averages_lengths_over_classes() -> None:
    _, negative = text()
    expected = sum(float(negative[j].mean(dim=0).norm()) - 1 for j in range(4)) / 4
    assert losses.nnd_mean_norm(alone(negative)).item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("form", losses.NND_FORMS.values(), ids=losses.NND_FORMS)
def test_one_negative_a_class_gives_zero_with_zero_gradient(form: object) -> None:
    assert callable(form)
    negative = torch.randn(5, 1, 8, generator=torch.Generator().manual_seed(8)).requires_grad_()
    loss = form(alone(negative))
    (gradient,) = torch.autograd.grad(loss, negative)
    assert loss.item() == 0.0
    assert gradient.abs().max().item() == 0.0


def test_mean_norm_has_a_finite_gradient_at_its_minimum() -> None:
    negative = torch.tensor([[[1.0, 0.0], [-1.0, 0.0]]], requires_grad=True)
    (gradient,) = torch.autograd.grad(losses.nnd_mean_norm(alone(negative)), negative)
    assert torch.isfinite(gradient).all()


def test_negatives_that_start_equal_get_no_push_apart() -> None:
    # Why the start needs noise: at equal negatives the pairwise cosine is stationary.
    one = torch.randn(3, 1, 8, generator=torch.Generator().manual_seed(9))
    negative = one.expand(-1, 2, -1).clone().requires_grad_()
    (gradient,) = torch.autograd.grad(losses.nnd_pairwise(alone(negative)), negative)
    assert gradient.abs().max().item() < 1e-6


# all terms


@pytest.mark.parametrize("scale", [0.1, 30.0])
def test_text_terms_do_not_depend_on_the_length_of_features(scale: float) -> None:
    positive, negative = text()
    torch.testing.assert_close(
        losses.npd_attract(text_products(scale * positive, 2 * scale * negative)),
        losses.npd_attract(text_products(positive, negative)),
    )
    torch.testing.assert_close(losses.nnd_pairwise(alone(scale * negative)), losses.nnd_pairwise(alone(negative)))
    torch.testing.assert_close(losses.nnd_mean_norm(alone(scale * negative)), losses.nnd_mean_norm(alone(negative)))


def test_the_default_terms_are_the_papers() -> None:
    positive, negative = text(classes=3, negatives=2)
    terms = losses.negprompt_terms(cosines(), LABELS, text_products(positive, negative), 100.0)
    assert terms.nis == losses.negatives_uniform(cosines(), LABELS, 100.0)
    assert terms.npd == losses.npd_attract(text_products(positive, negative))
    assert terms.nnd == losses.nnd_pairwise(alone(negative))
    expected = terms.nis.item() + 0.1 * terms.npd.item() + 0.05 * terms.nnd.item()
    assert losses.total_loss(terms).item() == pytest.approx(expected, abs=1e-6)


def test_forms_are_chosen_by_name() -> None:
    positive, negative = text(classes=3, negatives=2)
    terms = losses.negprompt_terms(
        cosines(),
        LABELS,
        text_products(positive, negative),
        100.0,
        nis="multilabel_margin",
        npd="repel",
        nnd="mean_norm",
    )
    assert terms.nis == losses.multilabel_margin(cosines(), LABELS, 100.0)
    assert terms.npd == losses.npd_repel(text_products(positive, negative))
    assert terms.nnd == losses.nnd_mean_norm(alone(negative))


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"nis": "joint_unifrom"}, r"method\.nis='joint_unifrom' is unknown.*did you mean 'joint_uniform'"),
        ({"npd": "atract"}, r"method\.npd='atract' is unknown.*did you mean 'attract'"),
        ({"nnd": "pairs"}, r"method\.nnd='pairs' is unknown; did you mean 'pairwise'\? Allowed: mean_norm, pairwise"),
    ],
)
def test_an_unknown_form_names_the_setting_and_the_nearest(setting: dict[str, str], message: str) -> None:
    positive, negative = text(classes=3, negatives=2)
    with pytest.raises(ConfigError, match=message):
        losses.negprompt_terms(
            cosines(),
            LABELS,
            text_products(positive, negative),
            100.0,
            nis=setting.get("nis", "negatives_uniform"),
            npd=setting.get("npd", "attract"),
            nnd=setting.get("nnd", "pairwise"),
        )


def test_terms_of_bfloat16_features_are_computed_in_float32() -> None:
    positive, negative = (features.bfloat16() for features in text(classes=3, negatives=2))
    similarity = Similarity(*(c.bfloat16() if c is not None else None for c in cosines()))  # type: ignore[arg-type]
    terms = losses.negprompt_terms(similarity, LABELS, text_products(positive, negative), 100.0)
    assert {term.dtype for term in terms} == {torch.float32}
    assert terms.nnd == losses.nnd_pairwise(alone(negative.float()))
