"""Every odd picture either comes out as a person sees it, or is refused by name with the way to mend it."""

from __future__ import annotations

import gc
import io
import struct
import warnings
import weakref
import zlib

import numpy as np
import PIL
import pytest
from helpers import encoded, picture
from PIL import Image, ImageCms, ImageFile

from negprompt.data.decoding import decode
from negprompt.errors import DataError

WHITE = (255, 255, 255)
ORIENTATION = 0x0112
PILLOW = int(PIL.__version__.split(".")[0])
NOISE = np.random.default_rng(0).integers(0, 256, (24, 20, 3), dtype=np.uint8)


def saved(image, kind="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def handmade_png(width, height, depth, colour_type, rows=b"", transparent=b""):
    """A PNG Pillow does not write: of 16 bits a channel, or with a header that lies."""

    def chunk(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"tRNS", transparent), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*pair) for pair in chunks if pair[1] or pair[0] == b"IEND")


def colour(encoded_image, place=(0, 0)):
    image = decode(encoded_image, "key", "set")
    assert image.mode == "RGB"
    return image.getpixel(place)


def row(encoded_image):
    return [colour(encoded_image, (left, 0)) for left in range(decode(encoded_image, "key", "set").width)]


def refusal(encoded_image):
    with pytest.raises(DataError) as refused:
        decode(encoded_image, "bell-3", "icons/train")
    message = str(refused.value)
    assert message.startswith("Picture 'bell-3' of icons/train ")
    return message


# --- colour modes --------------------------------------------------------------------------------------------------


def test_lossless_pictures_come_back_pixel_for_pixel():
    image = picture(0.3, 1)
    assert np.array_equal(np.array(decode(encoded(image), "key", "set")), np.array(image))


@pytest.mark.parametrize(
    ("pixel", "expected"),
    [((255, 0, 0, 255), (255, 0, 0)), ((255, 0, 0, 0), WHITE), ((0, 0, 0, 128), (127, 127, 127))],
)
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_transparent_pixels_lie_on_white(kind, pixel, expected):
    assert colour(saved(Image.new("RGBA", (4, 4), pixel), kind)) == expected


@pytest.mark.parametrize(("mode", "pixel", "transparent"), [("L", 77, 77), ("RGB", (1, 2, 3), (1, 2, 3)), ("1", 0, 0)])
def test_a_colour_declared_transparent_lies_on_white(mode, pixel, transparent):
    assert colour(saved(Image.new(mode, (4, 4), pixel), transparency=transparent)) == WHITE


def test_grey_pictures_have_three_equal_channels():
    assert colour(saved(Image.new("L", (4, 4), 77))) == (77, 77, 77)


def test_grey_with_transparency_lies_on_white():
    assert colour(saved(Image.new("LA", (4, 4), (10, 0)))) == WHITE


def test_pictures_of_one_bit_are_black_and_white():
    image = Image.new("1", (2, 1), 0)
    image.putpixel((1, 0), 1)
    assert row(saved(image)) == [(0, 0, 0), WHITE]


def palette_picture():
    image = Image.new("P", (4, 4), 1)
    image.putpalette([0, 0, 0, 10, 20, 30])
    return image


@pytest.mark.parametrize("kind", ["PNG", "GIF", "BMP"])
def test_palette_pictures_show_their_colours(kind):
    assert colour(saved(palette_picture(), kind)) == (10, 20, 30)


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_the_transparent_entry_of_a_palette_lies_on_white(kind):
    assert colour(saved(palette_picture(), kind, transparency=1)) == WHITE


def test_palette_entries_are_as_transparent_as_they_say():
    assert colour(saved(palette_picture(), transparency=bytes([0, 128]))) == (132, 137, 142)


def test_cmyk_pictures_become_rgb():
    red, green, blue = colour(saved(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG", quality=100))
    assert red > 200
    assert max(green, blue) < 80


def test_ycck_pictures_become_rgb():
    jpeg = bytearray(saved(Image.new("CMYK", (8, 8), (76, 84, 255, 0)), "JPEG", quality=100))
    jpeg[jpeg.index(b"Adobe") + 11] = 2  # the marker of YCCK: the planes above are red in it
    red, green, blue = colour(bytes(jpeg))
    assert red > 200
    assert max(green, blue) < 80


def test_lab_pictures_become_rgb():
    to_lab = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
    lab = ImageCms.applyTransform(Image.new("RGB", (4, 4), (200, 100, 50)), to_lab)
    assert np.abs(np.subtract(colour(saved(lab, "TIFF")), (200, 100, 50))).max() <= 4


@pytest.mark.parametrize(
    "options",
    [
        {"compression": "tiff_lzw"},
        pytest.param({}, marks=pytest.mark.skipif(PILLOW < 13, reason="Pillow 10 does not read back what it wrote")),
    ],
)
def test_ycbcr_pictures_become_rgb(options):
    ycbcr = Image.new("RGB", (4, 4), (200, 100, 50)).convert("YCbCr")
    assert np.abs(np.subtract(colour(saved(ycbcr, "TIFF", **options)), (200, 100, 50))).max() <= 2


# --- more than eight bits ------------------------------------------------------------------------------------------

DEEP = np.array([[0, 255, 256, 77 * 257, 65535]], dtype=np.uint16)
SHALLOW = [(value, value, value) for value in (0, 0, 1, 77, 255)]


def big_endian():
    return Image.frombytes("I;16B", (5, 1), DEEP.astype(">u2").tobytes())


@pytest.mark.parametrize(
    "deep",
    [
        saved(Image.fromarray(DEEP), "PNG"),
        saved(Image.fromarray(DEEP), "TIFF"),
        saved(Image.fromarray(DEEP), "TIFF", compression="tiff_lzw"),
        saved(big_endian(), "TIFF"),
        saved(Image.fromarray(DEEP.astype(np.int32)), "TIFF"),
        b"P5 5 1 65535\n" + DEEP.astype(">u2").tobytes(),
    ],
    ids=["png", "tiff", "tiff-lzw", "tiff-big-endian", "tiff-32-bit", "pgm"],
)
def test_sixteen_bit_grey_is_scaled_not_clipped(deep):
    assert row(deep) == SHALLOW


def test_sixteen_bit_colour_is_scaled_as_grey_is():
    pixels = DEEP.astype(">u2").repeat(3).tobytes()
    assert row(handmade_png(5, 1, 16, 2, b"\0" + pixels)) == SHALLOW


def test_a_sixteen_bit_grey_declared_transparent_lies_on_white():
    pixels = DEEP.astype(">u2").tobytes()
    transparent = struct.pack(">H", 256)
    assert row(handmade_png(5, 1, 16, 0, b"\0" + pixels, transparent)) == [*SHALLOW[:2], WHITE, *SHALLOW[3:]]


@pytest.mark.parametrize("values", [[[0, 65536]], [[-1, 7]]])
def test_values_beyond_sixteen_bits_are_refused(values):
    message = refusal(saved(Image.fromarray(np.array(values, dtype=np.int32)), "TIFF"))
    low, high = values[0]
    assert message.endswith(
        f"has values from {low} to {high}, which 16 bits do not hold: save it with 8 bits a channel."
    )


def test_floating_point_pictures_are_refused():
    message = refusal(saved(Image.new("F", (4, 4), 0.5), "TIFF"))
    assert message.endswith("has floating-point values: save it with 8 bits a channel.")


# --- several frames ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "options"), [("GIF", {}), ("PNG", {}), ("WEBP", {"lossless": True}), ("TIFF", {})])
def test_of_several_frames_the_first_is_seen(kind, options):
    red, blue = Image.new("RGB", (4, 4), "red"), Image.new("RGB", (4, 4), "blue")
    both = saved(red, kind, save_all=True, append_images=[blue], **options)
    assert Image.open(io.BytesIO(both)).n_frames == 2
    assert colour(both) == (255, 0, 0)


# --- orientation ---------------------------------------------------------------------------------------------------

# What a viewer does to the stored pixels; transposing swaps rows and columns.
SEEN = {
    1: lambda stored: stored,
    2: np.fliplr,
    3: lambda stored: np.rot90(stored, 2),
    4: np.flipud,
    5: lambda stored: stored.swapaxes(0, 1),
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: np.rot90(stored, 2).swapaxes(0, 1),
    8: lambda stored: np.rot90(stored, 1),
}


def tagged(orientation):
    tags = Image.Exif()
    tags[ORIENTATION] = orientation
    return tags


@pytest.mark.parametrize("orientation", SEEN)
@pytest.mark.parametrize(
    ("kind", "options"),
    [("PNG", {}), ("WEBP", {"lossless": True}), ("TIFF", {}), ("TIFF", {"compression": "tiff_lzw"})],
)
def test_pictures_are_turned_as_their_orientation_tag_says(kind, options, orientation):
    turned = decode(saved(Image.fromarray(NOISE), kind, exif=tagged(orientation), **options), "key", "set")
    assert np.array_equal(np.array(turned), SEEN[orientation](NOISE))


def test_an_orientation_that_does_not_exist_turns_nothing():
    assert np.array_equal(np.array(decode(saved(Image.fromarray(NOISE), exif=tagged(9)), "key", "set")), NOISE)


def test_photographs_are_turned_too():
    image = Image.new("RGB", (32, 16), "black")
    image.paste("white", (0, 0, 16, 16))
    turned = decode(saved(image, "JPEG", exif=tagged(6)), "key", "set")
    assert turned.size == (16, 32)
    assert min(turned.getpixel((8, 4))) > 250
    assert max(turned.getpixel((8, 28))) < 5


def test_a_turned_picture_keeps_its_transparency_and_depth():
    transparent = saved(palette_picture(), transparency=1, exif=tagged(6))
    assert colour(transparent) == WHITE
    deep = decode(saved(Image.fromarray(DEEP), exif=tagged(6)), "key", "set")
    assert [deep.getpixel((0, top)) for top in range(5)] == SHALLOW


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize(
    "tags", [b"Exif\0\0", b"Exif\0\0nonsense", b"Exif\0\0MM\0*\0\0\xff\xff", tagged(6).tobytes()[:18]]
)
def test_damaged_tags_do_not_spoil_a_picture(tags):
    assert np.array_equal(np.array(decode(saved(Image.fromarray(NOISE), exif=tags), "key", "set")), NOISE)


# --- size ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", [20_000, 2**31 - 1])  # of the second no memory could be taken
def test_a_tiny_file_that_claims_to_be_huge_is_refused_by_its_size(side):
    message = refusal(handmade_png(side, side, 8, 2, b"\0" * 10))
    assert message.endswith(f"is too large ({side} x {side} pixels, more than 178956970 in all): shrink it.")


def test_a_frame_that_claims_to_be_huge_is_refused():
    screen, frame = struct.pack("<HHBBB", 1, 1, 0, 0, 0), struct.pack("<HHHHB", 0, 0, 65535, 65535, 0)
    message = refusal(b"GIF89a" + screen + b"," + frame + b"\x02\x00;")
    assert message.endswith("exceeds limit of 178956970 pixels): shrink it.")


def test_the_largest_size_allowed_is_decoded_without_a_warning(monkeypatch):
    monkeypatch.setattr("negprompt.data.decoding._MAX_PIXELS", NOISE.shape[0] * NOISE.shape[1])
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 300)  # Pillow warns above it, and refuses above twice as many
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.array_equal(np.array(decode(saved(Image.fromarray(NOISE)), "key", "set")), NOISE)
    assert "is too large (21 x 24 pixels" in refusal(saved(Image.new("RGB", (21, 24))))


def test_pillow_still_warns_other_code_of_large_pictures(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 300)
    with pytest.warns(Image.DecompressionBombWarning):
        Image.open(io.BytesIO(saved(Image.fromarray(NOISE))))


def test_a_picture_the_memory_does_not_hold_is_refused(monkeypatch):
    def load(_):
        raise MemoryError

    monkeypatch.setattr(ImageFile.ImageFile, "load", load)
    assert refusal(saved(Image.fromarray(NOISE), "BMP")).endswith("does not fit in memory: shrink it.")


@pytest.mark.parametrize("size", [(0, 5), (5, 0)])
@pytest.mark.parametrize("kind", ["PNG", "BMP"])
def test_a_picture_without_pixels_is_refused(kind, size):
    width, height = size
    bitmap = b"BM" + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
    assert "is corrupt (" in refusal(handmade_png(width, height, 8, 2) if kind == "PNG" else bitmap)


# --- damage --------------------------------------------------------------------------------------------------------


def test_no_bytes_at_all_are_named_as_such():
    assert refusal(b"") == "Picture 'bell-3' of icons/train is empty (0 bytes): replace or remove it."


@pytest.mark.parametrize("damage", [b"<html>not found</html>", b"\0", b"\xff\xd8\xff", encoded(picture(0.1, 1))[:60]])
def test_a_corrupt_picture_is_named_with_its_set(damage):
    message = refusal(damage)
    assert "is corrupt (" in message
    assert message.endswith("): replace or remove it.")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP"])
@pytest.mark.parametrize("filled_up", [False, True])
def test_a_picture_that_ends_early_is_corrupt_however_pillow_is_set(kind, filled_up, monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", filled_up)
    whole = saved(Image.fromarray(NOISE), kind)
    assert decode(whole, "key", "set").size == (20, 24)
    for length in (len(whole) // 2, len(whole) * 9 // 10):
        assert "is corrupt (" in refusal(whole[:length])


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_the_memory_of_a_picture_is_free_as_soon_as_nobody_holds_it(kind, monkeypatch):
    opened = []

    def noted(image):
        opened.append(weakref.ref(image))
        return image

    monkeypatch.setattr("negprompt.data.decoding._upright", noted)
    gc.disable()
    try:
        decode(saved(Image.fromarray(NOISE), kind), "key", "set")
        assert [image() for image in opened] == [None]
    finally:
        gc.enable()


SMALL = {
    "jpeg": saved(Image.fromarray(NOISE), "JPEG", exif=tagged(6)),
    "progressive": saved(Image.fromarray(NOISE), "JPEG", progressive=True),
    "png": saved(Image.fromarray(NOISE), exif=tagged(6)),
    "apng": saved(Image.fromarray(NOISE), save_all=True, append_images=[Image.fromarray(NOISE[::-1])]),
    "webp": saved(Image.fromarray(NOISE), "WEBP", exif=tagged(6)),
    "gif": saved(palette_picture(), "GIF", save_all=True, append_images=[Image.new("L", (4, 4))], disposal=2),
    "tiff": saved(Image.fromarray(NOISE), "TIFF", exif=tagged(6)),
    "tiff-lzw": saved(Image.fromarray(NOISE), "TIFF", compression="tiff_lzw"),
    "bmp": saved(Image.fromarray(NOISE), "BMP"),
    "bmp-palette": saved(palette_picture(), "BMP"),
}


def damaged(whole, rng):
    """Cut short, or with some bytes changed, half of the time those of the header only."""
    if rng.random() < 0.25:
        return whole[: rng.integers(len(whole))]
    changed = bytearray(whole)
    reach = min(len(whole), 100) if rng.random() < 0.5 else len(whole)
    for place in rng.integers(reach, size=rng.integers(1, 6)):
        changed[place] = rng.integers(256)
    return bytes(changed)


def outcome(encoded_image):
    """The decoded picture, or the message of the only error there may be."""
    try:
        return decode(encoded_image, "key", "set")
    except DataError as error:
        return str(error)


@pytest.mark.filterwarnings("ignore")  # Pillow's, of what it skips
@pytest.mark.parametrize("kind", SMALL)
def test_damaged_bytes_give_a_picture_or_an_error_of_one_line(kind, monkeypatch):
    monkeypatch.setattr("negprompt.data.decoding._MAX_PIXELS", 10**6)  # larger ones only take longer
    rng = np.random.default_rng(0)
    outcomes = [outcome(damaged(SMALL[kind], rng)) for _ in range(60)]
    messages = [message for message in outcomes if isinstance(message, str)]
    assert len(messages) > 10
    # A loader process hands on one line only.
    assert all(message.startswith("Picture 'key' of set ") and "\n" not in message for message in messages)
    assert all(image.mode == "RGB" and min(image.size) > 0 for image in outcomes if not isinstance(image, str))
