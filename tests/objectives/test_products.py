"""Products of the negatives' features: autograd's values and gradients, from one gradient tensor."""

from __future__ import annotations

import pytest
import torch

from negprompt.objectives.products import products, text_products


def features(batch=3, classes=4, negatives=2, width=5):
    generator = torch.Generator().manual_seed(0)
    shapes = ((batch, width), (classes, width), (classes, negatives, width))
    return [torch.randn(shape, generator=generator).requires_grad_() for shape in shapes]


def plain(images, positive, negative):
    return (
        torch.einsum("bd,kpd->bkp", images, negative),
        torch.einsum("kd,kpd->kp", positive, negative),
        torch.einsum("kpd,kqd->kpq", negative, negative),
    )


@pytest.mark.parametrize("negatives", [1, 3])
def test_values_and_gradients_are_those_of_the_plain_products(negatives):
    leaves = features(negatives=negatives)
    image, text = products(*leaves)
    for ours, theirs in zip((image, text.positive, text.negative), plain(*leaves), strict=True):
        torch.testing.assert_close(ours, theirs)
    ours = image.pow(2).cumsum(1).sum() + text.positive.exp().sum() + text.negative.pow(3).cumsum(2).sum()
    one, two, three = plain(*leaves)
    theirs = one.pow(2).cumsum(1).sum() + two.exp().sum() + three.pow(3).cumsum(2).sum()
    for gradients in zip(torch.autograd.grad(ours, leaves), torch.autograd.grad(theirs, leaves), strict=True):
        torch.testing.assert_close(*gradients, rtol=1e-5, atol=1e-5)


def test_cosines_by_hand():
    text = text_products(torch.tensor([[3.0, 0.0]]), torch.tensor([[[3.0, 4.0], [0.0, 2.0]]]))
    assert text.lengths().tolist() == [[5.0, 2.0]]
    torch.testing.assert_close(text.positive_cosines(), torch.tensor([[0.6, 0.0]]))
    torch.testing.assert_close(text.negative_cosines(), torch.tensor([[[1.0, 0.8], [0.8, 1.0]]]))


def test_cosines_are_those_of_normalised_features():
    _, positive, negative = features()
    unit = torch.nn.functional.normalize(negative, dim=-1)
    text = text_products(7 * positive, 3 * negative)
    torch.testing.assert_close(text.negative_cosines(), unit @ unit.transpose(1, 2))


def test_a_negative_without_length_has_cosine_zero_and_no_gradient():
    negative = torch.zeros(1, 1, 2, requires_grad=True)
    text = text_products(torch.ones(1, 2), negative)
    (gradient,) = torch.autograd.grad(text.negative_cosines().sum(), negative)
    assert float(text.positive_cosines().detach()) == 0
    assert gradient.tolist() == [[[0.0, 0.0]]]


def test_only_asked_for_gradients_are_computed():
    images, positive, negative = features()
    image, _ = products(images.detach(), positive.detach(), negative)
    image.sum().backward()
    assert images.grad is None
    assert negative.grad is not None
