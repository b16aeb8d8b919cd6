"""Pictures to tensors: open_clip's own test transform, and augmentation that remembers nothing."""

from __future__ import annotations

import random

import numpy as np
import open_clip
import pytest
import torch
from helpers import SPEC, picture
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional

from negprompt.data.base import Augmentation
from negprompt.data.transforms import _generator, batch_of, crop_box, normalised, train_image
from negprompt.data.transforms import test_image as pixels_of
from negprompt.types import ImageSpec, SampleIndex

# --- the test transform --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "size", [(32, 32), (36, 40), (97, 61), (20, 25), (5, 120), (1, 1), (1, 1000), (1000, 1), (7, 699)]
)
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_the_test_transform_is_open_clips_own(size, interpolation):
    spec = ImageSpec(32, SPEC.mean, SPEC.std, interpolation)
    theirs = open_clip.image_transform(32, is_train=False, mean=spec.mean, std=spec.std, interpolation=interpolation)
    image = picture(0.4, 2, size)
    assert float((pixels_of(image, spec) - theirs(image)).abs().max()) < 1e-6


@pytest.mark.parametrize("size", [(1, 10_001), (3, 1700), (1501, 7)])
def test_long_strips_are_seen_as_open_clip_does_but_for_rounding(size):
    theirs = open_clip.image_transform(32, is_train=False, mean=SPEC.mean, std=SPEC.std, interpolation="bicubic")
    image = picture(0.4, 2, size)
    assert float((pixels_of(image, SPEC) - theirs(image)).abs().max()) < 1.01 / 255 / min(SPEC.std)


def test_the_middle_of_a_strip_is_seen_without_resizing_the_whole():
    strip = Image.new("RGB", (20_000_001, 1), "red")  # 2.5 GB, 32 pixels high
    strip.paste("blue", (10_000_000 - 4, 0, 10_000_000 + 5, 1))
    assert torch.equal(pixels_of(strip, SPEC), pixels_of(Image.new("RGB", (1, 1), "blue"), SPEC))


def test_pixels_are_normalised_per_channel():
    spec = ImageSpec(8, (0.5, 0.25, 0.0), (0.5, 0.25, 2.0), "bicubic")
    white = pixels_of(Image.new("RGB", (8, 8), "white"), spec)
    assert white[:, 0, 0].tolist() == [1.0, 3.0, 0.5]


def test_a_batch_is_normalised_as_its_pictures_are():
    shape = (3, 3, SPEC.size, SPEC.size)
    pixels = torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(batch_of(pixels, len(pixels), SPEC), torch.stack([normalised(image, SPEC) for image in pixels]))


def test_normalisation_is_torchvisions_to_the_last_bit():
    every_value = torch.arange(256, dtype=torch.uint8).expand(3, SPEC.size, 256).contiguous()
    scaled = functional.to_dtype(every_value, torch.float32, scale=True)
    assert torch.equal(normalised(every_value, SPEC), functional.normalize(scaled, list(SPEC.mean), list(SPEC.std)))


# --- augmentation --------------------------------------------------------------------------------------------------


NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (36, 40, 3), dtype=np.uint8))


def augmented(seed=1, epoch=0, row=0, image=NOISE, **settings):
    return train_image(image, SPEC, Augmentation(**settings), seed, SampleIndex(row, epoch))


def test_augmentation_is_a_function_of_seed_epoch_and_row():
    first = augmented(seed=0, epoch=2, row=5)
    for generator in (random.seed, np.random.seed, torch.manual_seed):  # the global states have no say
        generator(7)
    assert torch.equal(augmented(seed=0, epoch=2, row=5), first)


@pytest.mark.parametrize("change", [{"seed": 2}, {"epoch": 1}, {"row": 1}])
def test_each_of_seed_epoch_and_row_changes_the_view(change):
    assert not torch.equal(augmented(), augmented(**change))


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_augmentation_is_torchvisions_crop_and_flip(interpolation):
    spec = ImageSpec(32, SPEC.mean, SPEC.std, interpolation)
    for row in range(10):
        where, settings = SampleIndex(row, 0), Augmentation()
        rng = _generator(1, where)
        box = crop_box(NOISE.height, NOISE.width, settings, rng)
        mode = InterpolationMode(interpolation)
        theirs = functional.resized_crop(NOISE, *box, [32, 32], interpolation=mode, antialias=True)
        if rng.random() < settings.flip:
            theirs = functional.horizontal_flip(theirs)
        assert torch.equal(train_image(NOISE, spec, settings, 1, where), pixels_of(theirs, spec))


def test_a_full_crop_without_a_flip_is_the_resized_picture():
    image = picture(0.2, 3, (32, 32))
    settings = {"scale_min": 1.0, "scale_max": 1.0, "flip": 0.0}
    views = [augmented(epoch=epoch, image=image, **settings) for epoch in range(40)]
    assert any(torch.equal(view, pixels_of(image, SPEC)) for view in views)


def test_flips_happen_as_often_as_asked_for():
    image = Image.new("RGB", (32, 32), "black")
    image.paste("white", (16, 0, 32, 32))

    def bright_right(flip):
        views = [augmented(epoch=epoch, image=image, flip=flip, scale_min=0.9) for epoch in range(200)]
        return sum(float(view[:, :, -1].mean()) > float(view[:, :, 0].mean()) for view in views)

    assert bright_right(0.0) == 200
    assert bright_right(1.0) == 0
    assert 75 < bright_right(0.5) < 125


@pytest.mark.parametrize("size", [(1, 1), (1000, 1), (1, 1000)])
def test_no_crop_fits_a_strip_so_that_its_middle_is_learnt(size):
    image = Image.new("RGB", size, "red")
    image.putpixel(((size[0] - 1) // 2, (size[1] - 1) // 2), (0, 0, 255))
    assert torch.equal(augmented(image=image), pixels_of(Image.new("RGB", (1, 1), "blue"), SPEC))


@pytest.mark.parametrize("size", [(40, 40), (30, 90), (90, 30), (1, 50), (3, 3)])
def test_crops_lie_within_the_picture(size):
    height, width = size
    rng = np.random.default_rng(0)
    for _ in range(300):
        top, left, crop_height, crop_width = crop_box(height, width, Augmentation(), rng)
        assert top >= 0
        assert left >= 0
        assert crop_height >= 1
        assert crop_width >= 1
        assert top + crop_height <= height
        assert left + crop_width <= width


def test_crops_keep_the_areas_and_shapes_asked_for():
    rng = np.random.default_rng(0)
    boxes = [crop_box(500, 500, Augmentation(scale_min=0.3, scale_max=0.6), rng) for _ in range(500)]
    areas = np.array([height * width / 250000 for _, _, height, width in boxes])
    ratios = np.array([width / height for _, _, height, width in boxes])
    assert 0.295 < areas.min() < 0.31
    assert 0.59 < areas.max() < 0.605
    assert areas.mean() == pytest.approx(0.45, abs=0.015)
    assert 0.74 < ratios.min() < 0.78
    assert 1.29 < ratios.max() < 1.35


def test_a_picture_too_narrow_for_any_crop_gives_its_centre_square():
    box = crop_box(10, 1000, Augmentation(scale_min=1.0), np.random.default_rng(0))
    assert box == (0, 495, 10, 10)
