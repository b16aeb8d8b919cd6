"""Everything that the losses of stage 2 need of the negatives' features, as three small tables of inner products.

The features of all negatives (K, P, D) are by far the largest tensors of a training step. Autograd would keep one
gradient of that size for each product and add them up; here one backward pass writes all of them into a single one, so
that a step holds the features, their gradient and nothing else of that size.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

NO_LENGTH = 1e-24
"""What a squared length of 0 is replaced by: directions of vectors without length do not count."""


class TextProducts(NamedTuple):
    """Inner products of text features of any length.

    `positive` (K, P): of each negative with the positive of its class; `negative` (K, P, P): of the negatives of a
    class with each other, squared lengths on the diagonal; `positive_length` (K,).
    """

    positive: Tensor
    negative: Tensor
    positive_length: Tensor

    def lengths(self) -> Tensor:
        """Lengths of the negatives (K, P)."""
        return self.negative.diagonal(dim1=1, dim2=2).clamp_min(NO_LENGTH).sqrt()

    def positive_cosines(self) -> Tensor:
        """Cosine of each negative to the positive of its class (K, P)."""
        return self.positive / (self.lengths() * self.positive_length.clamp_min(NO_LENGTH**0.5).unsqueeze(1))

    def negative_cosines(self) -> Tensor:
        """Cosines between the negatives of a class (K, P, P)."""
        lengths = self.lengths()
        return self.negative / (lengths.unsqueeze(1) * lengths.unsqueeze(2))


def products(images: Tensor, positive_text: Tensor, negative_text: Tensor) -> tuple[Tensor, TextProducts]:
    """Products of negatives with images, with the positives of their classes and with each other; float32.

    Args:
        images: image features (B, D).
        positive_text: text features (K, D).
        negative_text: text features (K, P, D).

    Returns:
        Products with the images (B, K, P), cosines where both are of unit length; and those between text features.

    Example:
        >>> image, text = products(torch.eye(2), torch.eye(2), torch.tensor([[[3.0, 4.0]], [[0.0, 1.0]]]))
        >>> image[:, :, 0], text.positive_cosines()
        (tensor([[3., 0.],
                [4., 1.]]), tensor([[0.6000],
                [1.0000]]))
    """
    with torch.autocast(images.device.type, enabled=False):
        positive_text = positive_text.float()
        image, positive, negative = _Products.apply(images.float(), positive_text, negative_text.float())
        return image, TextProducts(positive, negative, torch.linalg.vector_norm(positive_text, dim=-1))


def text_products(positive_text: Tensor, negative_text: Tensor) -> TextProducts:
    """`products` without images."""
    return products(positive_text[:0], positive_text, negative_text)[1]


class _Products(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: Tensor, positive: Tensor, negative: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # noqa: ANN401
        ctx.save_for_backward(images, positive, negative)
        return (
            torch.einsum("bd,kpd->bkp", images, negative),
            torch.einsum("kd,kpd->kp", positive, negative),
            torch.bmm(negative, negative.transpose(1, 2)),
        )

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, to_image: Tensor, to_positive: Tensor, to_pairs: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        images, positive, negative = ctx.saved_tensors
        wants_images, wants_positive, wants_negative = ctx.needs_input_grad
        gradient = None
        if wants_negative:
            gradient = torch.einsum("bkp,bd->kpd", to_image, images).contiguous()
            gradient.baddbmm_(to_positive.unsqueeze(2), positive.unsqueeze(1))
            gradient.baddbmm_(to_pairs + to_pairs.transpose(1, 2), negative)
        return (
            torch.einsum("bkp,kpd->bd", to_image, negative) if wants_images else None,
            torch.einsum("kp,kpd->kd", to_positive, negative) if wants_positive else None,
            gradient,
        )
