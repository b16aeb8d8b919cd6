"""Augmented views of whole batches of drawings: geometry and ink in two tensor operations."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812  (torch's own name for it)


def to_float(pixels: np.ndarray) -> Tensor:
    """Pixels (B, H, W, 3) uint8 as (B, 3, H, W) float in [0, 1], channels last in memory."""
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float().div_(255.0)


def resize(images: Tensor, size: int) -> Tensor:
    """Images at ``size`` pixels, as the evaluation transform does it (bicubic, antialiased)."""
    if images.shape[-1] == size:
        return images
    return F.interpolate(images, size=(size, size), mode="bicubic", antialias=True).clamp_(0.0, 1.0)


def augment(images: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """A random view of each drawing: moved, scaled, turned, sometimes mirrored, in other or paler ink.

    Args:
        images: (B, 3, H, W) in [0, 1], drawn on white.
        size: side of the views.
        generator: source of all randomness.

    Returns:
        Views (B, 3, size, size) in [0, 1].
    """
    batch = len(images)

    def uniform(low: float, high: float) -> Tensor:
        return torch.rand(batch, generator=generator) * (high - low) + low

    ink = 1.0 - images  # what grid_sample pads with zeros is then white
    zoom, stretch = uniform(0.75, 1.2), uniform(0.9, 1.1)
    angle = uniform(-0.22, 0.22)
    mirror = torch.where(uniform(0.0, 1.0) < 0.25, -1.0, 1.0)
    rows = [
        torch.stack([mirror * zoom * stretch * angle.cos(), -zoom * angle.sin(), uniform(-0.12, 0.12)], dim=1),
        torch.stack([mirror * zoom * angle.sin(), zoom / stretch * angle.cos(), uniform(-0.12, 0.12)], dim=1),
    ]
    grid = F.affine_grid(torch.stack(rows, dim=1), [batch, 3, size, size], align_corners=False)
    ink = F.grid_sample(ink, grid, mode="bilinear", padding_mode="zeros", align_corners=False)

    mixing = _hue_rotation(uniform(0.0, 2.0 * math.pi))
    unchanged = uniform(0.0, 1.0) < 0.4
    mixing = torch.where(unchanged[:, None, None], torch.eye(3), mixing)
    strength = torch.where(uniform(0.0, 1.0) < 0.5, 1.0, uniform(0.45, 1.0))
    mixed = torch.einsum("bij,bjhw->bihw", mixing * strength[:, None, None], ink)
    return (1.0 - mixed).clamp_(0.0, 1.0).contiguous(memory_format=torch.channels_last)


def _hue_rotation(angle: Tensor) -> Tensor:
    """Rotations (B, 3, 3) of colour about the grey axis: black and white stay, colours change."""
    third, cosine, sine = 1.0 / 3.0, angle.cos(), angle.sin() / math.sqrt(3.0)
    same, before, after = cosine + third * (1 - cosine), third * (1 - cosine) - sine, third * (1 - cosine) + sine
    rows = [torch.stack(row, dim=1) for row in ([same, before, after], [after, same, before], [before, after, same])]
    return torch.stack(rows, dim=1)
