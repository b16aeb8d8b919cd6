"""An encoded picture of any format and colour mode -> RGB, or an error that names the picture and what to do."""

from __future__ import annotations

import io
import struct

import numpy as np
from PIL import ExifTags, Image, ImageFile, UnidentifiedImageError

from negprompt.errors import DataError

_MAX_PIXELS = 178_956_970  # Pillow's limit too, at its default settings
_REPLACE, _SHRINK, _SAVE_AGAIN = "replace or remove it", "shrink it", "save it with 8 bits a channel"
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class _UnfitError(Exception):
    """A picture that is whole but cannot be used: what is wrong with it, and the way to mend it."""

    def __init__(self, fault: str, fix: str) -> None:
        super().__init__(f"{fault}: {fix}")


def decode(encoded: bytes, key: str, set_name: str) -> Image.Image:
    """Decode the first frame of a picture to RGB: upright, 8 bits a channel, transparent pixels on white.

    Raises:
        DataError: the bytes are no picture, end too early or are damaged, or the picture is too large or has no 8-bit
            form; names the picture and its set.
    """
    try:
        return _rgb(_upright(_loaded(encoded)))
    except Exception as error:  # formats let slip whatever damaged bytes lead to, an open-ended list
        msg = f"Picture {key!r} of {set_name} {_fault(error)}."
        raise DataError(msg) from error


def as_rgb(image: Image.Image, key: str, set_name: str) -> Image.Image:
    """What `decode` makes of a picture that is open already.

    Raises:
        DataError: it has no pixels, cannot be loaded, is too large or has no 8-bit form; names the picture and its set.
    """
    try:
        _refuse_size(image)
        image.load()
        return _rgb(_upright(image))
    except Exception as error:
        msg = f"Picture {key!r} of {set_name} {_fault(error)}."
        raise DataError(msg) from error


def mode_of(encoded: bytes) -> str:
    """Colour mode that a picture is saved in, as Pillow calls it: RGB, L, P, CMYK, I;16, ...; from its header."""
    return str(_opened(encoded).mode)


def _loaded(encoded: bytes) -> Image.Image:
    if not encoded:
        fault = "is empty (0 bytes)"
        raise _UnfitError(fault, _REPLACE)
    image = _opened(encoded)
    _refuse_size(image)  # before `load`, which takes the memory
    _load_whole(image)
    return image


def _refuse_size(image: Image.Image) -> None:
    width, height = image.size
    if not width * height:
        fault = f"has no pixels ({width} x {height})"
        raise _UnfitError(fault, _REPLACE)
    if width * height > _MAX_PIXELS:
        fault = f"is too large ({width} x {height} pixels, more than {_MAX_PIXELS} in all)"
        raise _UnfitError(fault, _SHRINK)


def _opened(encoded: bytes) -> ImageFile.ImageFile:
    # Image.open would warn of large pictures, and warnings are filtered for all threads or none; its refusal of larger
    # ones does not tell width and height.
    stream, prefix = io.BytesIO(encoded), encoded[:16]
    for register in (Image.preinit, Image.init):  # common formats first; the others take time to import
        register()
        for name in Image.ID:
            factory, accept = Image.OPEN[name]
            try:
                accepted = accept is None or accept(prefix)
                if accepted and not isinstance(accepted, str):  # a text says what is not installed
                    stream.seek(0)
                    return factory(stream, "")
            except (SyntaxError, IndexError, TypeError, struct.error):  # how a format says "not mine"
                continue
    msg = "not a known format"
    raise UnidentifiedImageError(msg)


def _load_whole(image: ImageFile.ImageFile) -> None:
    """`load` that fails where the bytes end, even if other code has set Pillow to fill up what is missing."""
    of_format = getattr(image, "load_read", None)

    def read(size: int) -> bytes:
        stream = image.fp  # looked up late: some formats unpack into another stream
        block = b""
        if stream is not None and stream.read(1):
            stream.seek(-1, io.SEEK_CUR)
            block = (of_format or stream.read)(size)
        if not block:
            msg = "it ends too early"
            raise OSError(msg)
        return block

    image.load_read = read  # type: ignore[attr-defined]
    image.load()
    vars(image).pop("load_read", None)  # the picture would hold itself, and its memory stay until the next collection


def _upright(image: Image.Image) -> Image.Image:
    # A picture is what a person sees, and viewers turn it as its orientation tag says. Not by exif_transpose: that
    # writes all tags anew, and damaged ones are no reason to refuse whole pixels. TIFF turns itself on loading, and
    # older Pillow leaves the tag there.
    if image.format == "TIFF":
        return image
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # noqa: BLE001 - the list of what damaged tags lead to is as open as that of damaged pixels
        return image
    return image.transpose(_TURNS[orientation]) if orientation in _TURNS else image


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        fault = "has floating-point values"
        raise _UnfitError(fault, _SAVE_AGAIN)
    if image.mode == "I" or image.mode.startswith("I;16"):
        image = _eight_bits(image)
    elif image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
    return image if image.mode == "RGB" else image.convert("RGB")  # which would copy


def _eight_bits(image: Image.Image) -> Image.Image:
    """Grey of 16 bits -> 8 bits, for `convert` would clip it; mode I, of 32 bits, is what some formats read it to."""
    values = np.asarray(image)
    low, high = int(values.min()), int(values.max())
    if low < 0 or high > 0xFFFF:
        fault = f"has values from {low} to {high}, which 16 bits do not hold"
        raise _UnfitError(fault, _SAVE_AGAIN)
    # The high byte, as Pillow reads colours of 16 bits: a grey picture is the same saved as either.
    grey = (values >> 8).astype(np.uint8)
    if "transparency" in image.info:
        grey[values == image.info["transparency"]] = 255
    return Image.fromarray(grey)


def _fault(error: Exception) -> str:
    if isinstance(error, _UnfitError):
        return str(error)
    if isinstance(error, MemoryError):
        return f"does not fit in memory: {_SHRINK}"
    if isinstance(error, Image.DecompressionBombError):  # a format's own check
        return f"is too large ({_one_line(error).partition(', could')[0]}): {_SHRINK}"
    return f"is corrupt ({_one_line(error)}): {_REPLACE}"


def _one_line(error: Exception) -> str:
    words = " ".join(str(error).split())
    if isinstance(error, (OSError, SyntaxError, ValueError, Image.DecompressionBombError)) and words:
        return words
    return f"{type(error).__name__}: {words}".removesuffix(": ")
