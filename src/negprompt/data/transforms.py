"""Picture -> normalised tensor. Augmentation is a function of (seed, epoch, index), never of global state."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import get_worker_info
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as transform

from negprompt.data.base import Augmentation
from negprompt.types import ImageSpec, SampleIndex

_MAX_CROP_TRIES = 10
_LONGEST_STRIP = 100
_LOG_RATIO = (math.log(3 / 4), math.log(4 / 3))


def test_image(image: Image.Image, spec: ImageSpec) -> Tensor:
    """CLIP's test transform: shorter side to size (antialiased), centre crop, normalise -> (3, size, size)."""
    return normalised(test_pixels(image, spec), spec)


def train_image(
    image: Image.Image, spec: ImageSpec, augmentation: Augmentation, seed: int, where: SampleIndex
) -> Tensor:
    """Random resized crop and flip (method: CoOp) -> (3, size, size); the same for equal (seed, epoch, index)."""
    return normalised(train_pixels(image, spec, augmentation, seed, where), spec)


def test_pixels(image: Image.Image, spec: ImageSpec) -> Tensor:
    """`test_image` before normalisation: (3, size, size) uint8."""
    if image.size != (spec.size, spec.size):
        interpolation = InterpolationMode(spec.interpolation)
        image = transform.resize(_middle(image), [spec.size], interpolation=interpolation, antialias=True)
        image = transform.center_crop(image, [spec.size, spec.size])
    return _pixels(image)


def train_pixels(
    image: Image.Image, spec: ImageSpec, augmentation: Augmentation, seed: int, where: SampleIndex
) -> Tensor:
    """`train_image` before normalisation: (3, size, size) uint8."""
    rng = _generator(seed, where)
    top, left, height, width = crop_box(image.height, image.width, augmentation, rng)
    # What torchvision's resized_crop does to a PIL picture; its dispatch costs as much as the work.
    image = image.crop((left, top, left + width, top + height))
    image = image.resize((spec.size, spec.size), Image.Resampling[spec.interpolation.upper()])
    if rng.random() < augmentation.flip:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return _pixels(image)


def normalised(pixels: Tensor, spec: ImageSpec) -> Tensor:
    """Pixels (3, H, W) uint8 -> float32, normalised per channel."""
    return _normalised_into(torch.empty(pixels.shape), pixels, spec)


def batch_of(pictures: Iterable[Tensor], count: int, spec: ImageSpec) -> Tensor:
    """`normalised` of `count` pictures (3, size, size) uint8 -> (count, 3, size, size) float32.

    Each is normalised in its place in the batch while it is in the processor's cache.
    """
    room = _room(torch.Size((count, 3, spec.size, spec.size)))
    for place, pixels in zip(room, pictures, strict=True):
        _normalised_into(place, pixels, spec)
    return room


def _normalised_into(place: Tensor, pixels: Tensor, spec: ImageSpec) -> Tensor:
    place.copy_(pixels).mul_(1 / 255)  # as torchvision's to_dtype, to the last bit: a division would differ in it
    result: Tensor = transform.normalize(place, list(spec.mean), list(spec.std), inplace=True)
    return result


def _room(shape: torch.Size) -> Tensor:
    """Memory for float32 pixels; in a loader process it is shared, or the batch would be copied on its way out."""
    if get_worker_info() is None:
        return torch.empty(shape)
    # As torch's own collation does it; its storages carry no types.
    shared: Any = torch.empty(0).untyped_storage()
    room: Tensor = torch.empty(0).set_(shared._new_shared(4 * shape.numel())).view(shape)
    return room


def crop_box(
    height: int, width: int, augmentation: Augmentation, rng: np.random.Generator
) -> tuple[int, int, int, int]:
    """Top, left, height, width of a random crop: area uniform in the scale range, log aspect ratio in 3/4..4/3."""
    for _ in range(_MAX_CROP_TRIES):
        area = height * width * rng.uniform(augmentation.scale_min, augmentation.scale_max)
        ratio = math.exp(rng.uniform(*_LOG_RATIO))
        crop_width, crop_height = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < crop_width <= width and 0 < crop_height <= height:
            top = int(rng.integers(height - crop_height + 1))
            left = int(rng.integers(width - crop_width + 1))
            return top, left, crop_height, crop_width
    side = min(height, width)  # torchvision's fall-back for extreme shapes: the centre square
    return (height - side) // 2, (width - side) // 2, side, side


def _middle(image: Image.Image) -> Image.Image:
    """Cut a long strip down towards its middle, all the centre crop shows: the rest, resized, could fill the memory."""
    short, surplus = min(image.size), max(image.size) - _LONGEST_STRIP * min(image.size)
    # In steps that leave the centre crop on the pixels, and its rounding, where they would be without the cut.
    cut = max(surplus, 0) // (4 * short) * 2 * short
    left, top = (cut, 0) if image.width > image.height else (0, cut)
    return image.crop((left, top, image.width - left, image.height - top)) if cut else image


def _pixels(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def _generator(seed: int, where: SampleIndex) -> np.random.Generator:
    digest = hashlib.sha256(f"augmentation/{seed}/{where.epoch}/{where.row}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "big"))
