"""SVG to small RGB pictures on white, and those to lossless WebP."""

from __future__ import annotations

import io

import numpy as np
import resvg_py
from numpy.typing import NDArray
from PIL import Image
from source import Icon

IMAGE_SIZE = 96
MIN_INK, MAX_INK = 0.01, 0.98
"""Share of pixels that differ from white: outside lie empty drawings (white ink, animations) and filled squares."""


def render(icon: Icon, size: int = IMAGE_SIZE) -> Image.Image | None:
    """Draw an icon, centred on a white square.

    Returns:
        An RGB picture, or None where nothing (or everything) is drawn.
    """
    width, height = _extent(icon.svg)
    wide = width >= height
    try:
        png = resvg_py.svg_to_bytes(
            svg_string=icon.svg,
            background="#ffffff",
            skip_system_fonts=True,
            width=size if wide else None,
            height=None if wide else size,
        )
    except ValueError:  # a malformed drawing: a handful of 390,000
        return None
    drawing = Image.open(io.BytesIO(bytes(png))).convert("RGB")
    if drawing.size != (size, size):
        square = Image.new("RGB", (size, size), "white")
        square.paste(drawing, ((size - drawing.width) // 2, (size - drawing.height) // 2))
        drawing = square
    return drawing if MIN_INK <= _ink(drawing) <= MAX_INK else None


def to_webp(picture: Image.Image, method: int = 0) -> bytes:
    """Encode without loss; the bytes depend on the encoder's version, the pixels don't."""
    buffer = io.BytesIO()
    picture.save(buffer, "WEBP", lossless=True, method=method, quality=60 if method else 0)
    return buffer.getvalue()


def grey(picture: Image.Image) -> NDArray[np.uint8]:
    """Luminance as an array (size, size)."""
    return np.asarray(picture.convert("L"), dtype=np.uint8)


def _extent(svg: str) -> tuple[float, float]:
    attributes = svg[: svg.index(">")].split('"')
    named = {attributes[i].strip(" ="): attributes[i + 1] for i in range(0, len(attributes) - 1, 2)}
    return float(named["width"]), float(named["height"])


def _ink(picture: Image.Image) -> float:
    return float((grey(picture) < 250).mean())
