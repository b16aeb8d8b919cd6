"""Pictures in every form give the pixels of the test loop, or an error that names them."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

from negprompt.data.decoding import decode
from negprompt.data.transforms import test_image as evaluated
from negprompt.detection.pixels import one_by_one, pixels_of
from negprompt.errors import DataError
from negprompt.types import ImageSpec

SPEC = ImageSpec(32, (0.48, 0.46, 0.41), (0.27, 0.26, 0.28), "bicubic")


def noise(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


def saved(image, kind="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def of_bytes(content):
    return evaluated(decode(content, "x", "some"), SPEC)


# --- forms of one picture ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(32, 32), (50, 41)])
def test_path_image_array_and_tensor_of_one_picture_are_the_pixels_of_evaluate(tmp_path, size):
    pixels = noise(*size, 3)
    path = tmp_path / "picture.png"
    Image.fromarray(pixels).save(path)
    wanted = of_bytes(path.read_bytes())
    for one in (path, str(path), Image.open(path), pixels, torch.from_numpy(pixels).permute(2, 0, 1)):
        assert torch.equal(pixels_of(one, SPEC), wanted)


def test_floats_of_the_right_size_are_only_normalised():
    pixels = noise(32, 32, 3)
    floats = torch.from_numpy(pixels).permute(2, 0, 1) / 255
    torch.testing.assert_close(pixels_of(floats, SPEC), pixels_of(pixels, SPEC), atol=1e-6, rtol=0)
    mean, std = (torch.tensor(one).view(3, 1, 1) for one in (SPEC.mean, SPEC.std))
    torch.testing.assert_close(pixels_of(floats, SPEC), (floats - mean) / std)
    torch.testing.assert_close(
        pixels_of(floats.permute(1, 2, 0).numpy().astype(np.float64), SPEC), (floats - mean) / std
    )


def test_floats_of_another_size_are_resized_as_pictures_are_up_to_rounding():
    smooth = np.linspace(0, 255, 64 * 80 * 3).reshape(64, 80, 3).astype(np.uint8)
    floats = torch.from_numpy(smooth).permute(2, 0, 1) / 255
    assert (pixels_of(floats, SPEC) - pixels_of(smooth, SPEC)).abs().max() < 2.5 / 255 / min(SPEC.std)


def test_resized_floats_stay_within_what_pixels_can_be():
    black_and_white = torch.zeros(3, 64, 64)
    black_and_white[:, :, 32:] = 1
    mean, std = (torch.tensor(one).view(3, 1, 1) for one in (SPEC.mean, SPEC.std))
    pixels = pixels_of(black_and_white, SPEC) * std + mean
    assert pixels.min() >= -1e-6
    assert pixels.max() <= 1 + 1e-6


# --- colour modes: the same from a file, from memory and as evaluate has them ----------------------------------------


def with_palette():
    image = Image.fromarray(noise(40, 32, 3)).quantize(16)
    image.info["transparency"] = 0
    return image


MODES = {
    "grey": lambda: Image.fromarray(noise(40, 32)),
    "transparent": lambda: Image.fromarray(noise(40, 32, 4), "RGBA"),
    "cmyk": lambda: Image.fromarray(noise(40, 32, 3)).convert("CMYK"),
    "palette with alpha": with_palette,
    "16 bits": lambda: Image.fromarray((noise(40, 32).astype(np.uint16) << 8) + 7),
    "one bit": lambda: Image.fromarray(noise(40, 32)).convert("1"),
}


@pytest.mark.parametrize("mode", MODES)
def test_every_colour_mode_is_read_as_evaluate_reads_it(mode, tmp_path):
    image = MODES[mode]()
    content = saved(image, "TIFF" if mode == "cmyk" else "PNG")
    path = tmp_path / "picture"
    path.write_bytes(content)
    wanted = of_bytes(content)
    assert torch.equal(pixels_of(path, SPEC), wanted)
    assert torch.equal(pixels_of(Image.open(path), SPEC), wanted)
    assert torch.equal(pixels_of(image, SPEC), wanted)


def test_arrays_of_16_bits_grey_and_alpha_are_read_as_files_of_them_are():
    deep = noise(40, 32).astype(np.uint16) << 8
    assert torch.equal(pixels_of(deep, SPEC), of_bytes(saved(Image.fromarray(deep))))
    for array in (noise(40, 32), noise(40, 32, 4)):
        assert torch.equal(pixels_of(array, SPEC), of_bytes(saved(Image.fromarray(array))))
    assert torch.equal(pixels_of(noise(40, 32)[:, :, None], SPEC), pixels_of(noise(40, 32), SPEC))


def test_a_picture_is_turned_as_its_exif_tag_says():
    upright = Image.fromarray(noise(32, 48, 3))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    content = saved(upright.transpose(Image.Transpose.ROTATE_90), exif=exif)
    assert torch.equal(pixels_of(Image.open(io.BytesIO(content)), SPEC), pixels_of(upright, SPEC))
    assert torch.equal(of_bytes(content), pixels_of(upright, SPEC))


# --- what is no picture ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "what"),
    [
        (Image.new("RGB", (0, 5)), r"Picture '7' of the given images has no pixels \(0 x 5\)"),
        (np.zeros((0, 5, 3), np.uint8), r"Picture 7 .* array of shape \(0, 5, 3\)"),
        (np.zeros((4, 4, 2), np.uint8), "shape"),
        (np.zeros((4, 4, 3), np.int64), "int64 values"),
        (np.zeros((4, 4, 4), np.float32), "transparency"),
        (torch.zeros(1, 8, 8), r"tensor of shape \(1, 8, 8\): give \(3, H, W\)"),
        (torch.zeros(3, 0, 8), "shape"),
        (torch.full((3, 8, 8), 2.0), r"from 2 to 2: floats are in \[0, 1\]"),
        (torch.full((3, 8, 8), torch.nan), r"floats are in \[0, 1\]"),
        (-torch.ones(3, 8, 8), "not normalised"),
        (Image.new("F", (4, 4)), "floating-point"),
        (3, "is a int"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_what_is_no_picture_is_named(given, what):
    with pytest.raises(DataError, match=what):
        pixels_of(given, SPEC, 7)


def test_files_that_are_missing_broken_or_empty_are_named(tmp_path):
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "empty.png").write_bytes(b"")
    whole = saved(Image.fromarray(noise(64, 64, 3)))
    (tmp_path / "half.png").write_bytes(whole[: len(whole) // 2])
    for name, what in {"gone": "No such file", "text": "corrupt", "empty": "0 bytes", "half": "corrupt"}.items():
        with pytest.raises(DataError, match=rf"{name}\.png.*{what}"):
            pixels_of(tmp_path / f"{name}.png", SPEC)
    with pytest.raises(DataError, match="cannot be read"):
        pixels_of(tmp_path, SPEC)


# --- several --------------------------------------------------------------------------------------------------------


def test_one_picture_and_batches_are_told_apart():
    assert len(list(one_by_one("a.png"))) == 1
    assert len(list(one_by_one(np.zeros((4, 5, 3), np.uint8)))) == 1
    assert len(list(one_by_one(np.zeros((2, 4, 5, 3), np.uint8)))) == 2
    assert len(list(one_by_one(torch.zeros(3, 4, 4)))) == 1
    assert len(list(one_by_one(torch.zeros(6, 3, 4, 4)))) == 6
    assert next(one_by_one(["a.png", Image.new("RGB", (2, 2))])) == "a.png"
    with pytest.raises(DataError, match="is no picture"):
        list(one_by_one(5))
