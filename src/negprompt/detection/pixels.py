"""Whatever a user has for a picture -> normalised pixels, in the way of the test loop."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as transform

from negprompt.data.decoding import as_rgb, decode
from negprompt.data.transforms import normalised, test_pixels
from negprompt.errors import DataError
from negprompt.types import ImageSpec

Picture = str | Path | Image.Image | npt.NDArray[Any] | Tensor
"""One picture: a path, a PIL image, an array (H, W), (H, W, 3) or (H, W, 4), or a tensor (3, H, W).

Arrays and tensors hold uint8 values, or floats in [0, 1]; an array (H, W) may also hold uint16 values.
"""
Pictures = Picture | Iterable[Picture]

_GIVEN = "the given images"
_CHANNELS = (1, 3, 4)


def one_by_one(images: object) -> Iterator[Picture]:
    """The pictures of whatever was given: one, a batch in one array or tensor, or several of any kind.

    Raises:
        DataError: something else was given.
    """
    if isinstance(images, str | Path | Image.Image):
        yield images
    elif isinstance(images, np.ndarray | Tensor):
        if images.ndim == 4:
            yield from images
        else:
            yield images
    elif isinstance(images, Iterable):
        yield from images
    else:
        msg = f"images={images!r:.80} is no picture: give paths, PIL images, arrays (H, W, 3) or tensors (B, 3, H, W)."
        raise DataError(msg)


def pixels_of(picture: Picture, spec: ImageSpec, place: int = 0) -> Tensor:
    """Normalised pixels (3, size, size) float32.

    Paths, PIL images and whole numbers take the way of `negprompt evaluate`: decoded to RGB, the shorter side resized,
    centre crop. A float picture of the backbone's size is only normalised; one of another size is resized the same way
    as floats, which differs from the way over 8 bits by rounding.

    Args:
        picture: any of `Picture`.
        spec: size, normalisation and interpolation that the backbone wants.
        place: number of the picture, for messages.

    Raises:
        DataError: it cannot be read, or is none; names it and says why.
    """
    if isinstance(picture, str | Path):
        return normalised(test_pixels(_read(Path(picture)), spec), spec)
    if isinstance(picture, Image.Image):
        return normalised(test_pixels(as_rgb(picture, f"{place}", _GIVEN), spec), spec)
    if isinstance(picture, np.ndarray):
        return _of_array(picture, spec, place)
    if isinstance(picture, Tensor):
        if picture.ndim != 3 or picture.shape[0] != 3 or not picture.numel():
            raise _unfit(place, f"is a tensor of shape {tuple(picture.shape)}", "give (3, H, W), RGB")
        if picture.dtype == torch.uint8:
            return _of_array(picture.cpu().permute(1, 2, 0).numpy(), spec, place)
        return _of_floats(picture.detach().cpu(), spec, place)
    raise _unfit(place, f"is a {type(picture).__name__}", "give a path, a PIL image, an array or a tensor")


def _read(path: Path) -> Image.Image:
    try:
        encoded = path.read_bytes()
    except OSError as error:
        msg = f"Picture {str(path)!r} cannot be read ({error.strerror})."
        raise DataError(msg) from error
    return decode(encoded, str(path), _GIVEN)


def _of_array(picture: npt.NDArray[Any], spec: ImageSpec, place: int) -> Tensor:
    channels = picture.shape[2] if picture.ndim == 3 else 1
    if picture.ndim not in (2, 3) or channels not in _CHANNELS or not picture.size:
        raise _unfit(place, f"is an array of shape {picture.shape}", "give (H, W), (H, W, 3) or (H, W, 4)")
    if channels == 1:
        picture = picture.reshape(picture.shape[:2])
    if picture.dtype == np.uint8 or (picture.dtype == np.uint16 and channels == 1):
        image = Image.fromarray(np.ascontiguousarray(picture))
        return normalised(test_pixels(as_rgb(image, f"{place}", _GIVEN), spec), spec)
    if channels == 4:
        raise _unfit(place, f"has {picture.dtype} values and transparency", "give uint8 values, or three channels")
    grey = picture if channels == 3 else np.repeat(picture[:, :, None], 3, axis=2)
    return _of_floats(torch.from_numpy(np.ascontiguousarray(grey)).permute(2, 0, 1), spec, place)


def _of_floats(picture: Tensor, spec: ImageSpec, place: int) -> Tensor:
    """Pixels (3, H, W) in [0, 1] -> normalised (3, size, size)."""
    if not picture.is_floating_point():
        raise _unfit(place, f"has {picture.dtype} values", "give uint8 values, or floats in [0, 1]")
    pixels = picture.float()
    low, high = float(pixels.min()), float(pixels.max())
    if not (low >= 0 and high <= 1):  # not a number is neither
        fault = f"has float values from {low:.3g} to {high:.3g}"
        raise _unfit(place, fault, "floats are in [0, 1] and not normalised (divide 0..255 by 255)")
    if tuple(pixels.shape[1:]) != (spec.size, spec.size):
        interpolation = InterpolationMode(spec.interpolation)
        pixels = transform.resize(pixels, [spec.size], interpolation=interpolation, antialias=True)
        pixels = transform.center_crop(pixels, [spec.size, spec.size]).clamp(0, 1)  # bicubic goes beyond
    result: Tensor = transform.normalize(pixels, list(spec.mean), list(spec.std))
    return result


def _unfit(place: int, fault: str, fix: str) -> DataError:
    return DataError(f"Picture {place} of {_GIVEN} {fault}: {fix}.")
