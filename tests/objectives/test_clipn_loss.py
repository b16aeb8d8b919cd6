"""CLIPN's losses: values worked out by hand, limits, and what must not change them."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from negprompt.objectives.clipn import Pairs, clipn_loss, itbo_loss, tso_loss, yes_logits


def unit(*shape, seed=0):
    return F.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


def pairs(count=5, width=8):
    return Pairs(unit(count, width, seed=1), unit(count, width, seed=2), unit(count, width, seed=3))


def by_formula(given, scale):
    """Section 3.3 written out with exponentials, in double precision."""
    image, yes, no = (tensor.double() for tensor in given[:3])
    to_yes, to_no = torch.exp(scale * image @ yes.T), torch.exp(scale * image @ no.T)
    share = to_yes / (to_yes + to_no)
    count = len(image)
    own = -torch.log(share.diagonal()).sum() / count
    others = sum(math.log(1 - share[i, j]) for i in range(count) for j in range(count) if i != j)
    return float(own - others / (count * (count - 1)))


def test_itbo_of_two_pairs_worked_out_by_hand():
    # Cosines of the pictures to "yes" (1, 0; 0, 1) and to "no" (0, 1; 1, 0): at scale 1, z = +1 on and -1 off the
    # diagonal, each of the two terms is log(1 + e^-1).
    eye = torch.eye(2)
    assert float(itbo_loss(Pairs(eye, eye, eye.flip(0)), 1.0)) == pytest.approx(
        2 * math.log(1 + math.exp(-1)), rel=1e-6
    )


def test_tso_of_perpendicular_opposite_and_equal_texts():
    yes = torch.tensor([[1.0, 0.0]])
    for no, cosine in (([0.0, 1.0], 0.0), ([-1.0, 0.0], -1.0), ([1.0, 0.0], 1.0)):
        expected = 2 - math.sqrt(2 - 2 * cosine + 1e-4)
        assert float(tso_loss(yes, torch.tensor([no]))) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("scale", [1.0, 10.0, 30.0])
def test_itbo_is_the_paper_s_formula(scale):
    assert float(itbo_loss(pairs(), scale)) == pytest.approx(by_formula(pairs(), scale), rel=1e-5)


def test_the_total_is_half_the_sum():
    total, terms = clipn_loss(pairs(), 100.0)
    assert float(total) == pytest.approx(0.5 * float(terms.itbo + terms.tso), rel=1e-6)


def test_identical_towers_say_yes_and_no_alike_everywhere():
    image, text = unit(6, 8, seed=1), unit(6, 8, seed=2)
    same = Pairs(image, text, text)
    assert torch.equal(yes_logits(same, 100.0).sigmoid(), torch.full((6, 6), 0.5))
    assert float(itbo_loss(same, 100.0)) == pytest.approx(2 * math.log(2), rel=1e-6)


def test_a_single_pair_has_nothing_to_say_no_to():
    image, yes, no = pairs(1)[:3]
    expected = math.log1p(math.exp(-float(100 * image @ (yes - no).T)))
    assert float(itbo_loss(Pairs(image, yes, no), 100.0)) == pytest.approx(expected, rel=1e-4)


def test_the_order_of_the_pairs_does_not_matter():
    given, order = pairs(7), torch.tensor([3, 0, 6, 1, 5, 2, 4])
    shuffled = Pairs(*(tensor[order] for tensor in given[:3]))
    for one, other in zip(clipn_loss(given, 100.0)[1], clipn_loss(shuffled, 100.0)[1], strict=True):
        assert float(one) == pytest.approx(float(other), rel=1e-5)


def test_rotating_all_features_changes_nothing():
    rotation = torch.linalg.qr(torch.randn(8, 8, generator=torch.Generator().manual_seed(5)))[0]
    rotated = Pairs(*(tensor @ rotation for tensor in pairs()[:3]))
    assert float(clipn_loss(rotated, 20.0)[0]) == pytest.approx(float(clipn_loss(pairs(), 20.0)[0]), rel=1e-4)


def test_parts_of_the_pictures_average_to_the_whole():
    given = pairs(6)
    parts = [itbo_loss(given._replace(image=given.image[first : first + 2], first=first), 30.0) for first in (0, 2, 4)]
    assert float(torch.stack(parts).mean()) == pytest.approx(float(itbo_loss(given, 30.0)), rel=1e-5)


def test_confident_towers_give_finite_losses_and_gradients():
    eye = torch.eye(4)
    no = eye.roll(1, 0).clone().requires_grad_()
    total, _ = clipn_loss(Pairs(eye, eye, no), 1e4)
    total.backward()
    assert bool(torch.isfinite(total))
    assert bool(torch.isfinite(no.grad).all())
    wrong = clipn_loss(Pairs(eye, eye.roll(1, 0), eye), 1e4)[1]
    assert float(wrong.itbo) == pytest.approx(1e4 + 1e4 / 3, rel=1e-4)


def test_the_slope_is_finite_where_training_starts():
    text = unit(4, 8)
    no = text.clone().requires_grad_()
    tso_loss(text, no).backward()
    assert bool(torch.isfinite(no.grad).all())
    assert float(no.grad.abs().max()) > 1


def test_the_gradient_says_yes_to_its_own_caption_and_no_to_others():
    given = pairs()
    no = given.no.clone().requires_grad_()
    itbo_loss(given._replace(no=no), 1.0).backward()
    step = no.detach() - 0.1 * no.grad
    assert float(itbo_loss(given._replace(no=step), 1.0)) < float(itbo_loss(given, 1.0))


def test_half_precision_features_are_compared_in_single_precision():
    given = Pairs(*(tensor.bfloat16() for tensor in pairs()[:3]))
    with torch.autocast("cpu", torch.bfloat16):
        total, _ = clipn_loss(given, 100.0)
    assert total.dtype == torch.float32
    assert float(total) == pytest.approx(float(clipn_loss(Pairs(*(tensor.float() for tensor in given[:3])), 100.0)[0]))
