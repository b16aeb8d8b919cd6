"""Perceptual near-duplicates: families copy each other, so equal drawings turn up under different roles."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from raster import grey

SIDE = 32
MAX_HASH_DISTANCE = 8
MAX_EDGE_DIFFERENCE = 0.15
"""Of two drawings' edges, the share that does not lie in the same place. Chosen by looking at 700 pairs: below 0.15
they are one shape with one stroke; above 0.2 they are bells, houses and moons by different hands. Edges, since the ink
of any two solid shapes overlaps."""


class Prints(NamedTuple):
    """Fingerprints of N pictures: difference hashes (N,), ink (N, SIDE * SIDE) from 0 to 255, sums of edges (N,)."""

    hashes: NDArray[np.uint64]
    ink: NDArray[np.uint8]
    edge_sums: NDArray[np.int64]


def make_prints(hashes: list[int], ink: NDArray[np.uint8]) -> Prints:
    """Fingerprints from hashes and ink."""
    sums = [_edges(ink[start : start + 1024]).sum(1) for start in range(0, len(ink), 1024)]
    return Prints(np.array(hashes, np.uint64), ink, np.concatenate(sums).astype(np.int64))


def fingerprint(picture: Image.Image) -> tuple[int, NDArray[np.uint8]]:
    """Difference hash and ink of a picture cropped to its drawing: margins and size do not hide a copy."""
    ink = 255 - grey(picture)
    rows, columns = np.flatnonzero(ink.max(1) > 8), np.flatnonzero(ink.max(0) > 8)
    drawing = Image.fromarray(ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])
    side = max(drawing.size)
    square = Image.new("L", (side, side))
    square.paste(drawing, ((side - drawing.width) // 2, (side - drawing.height) // 2))
    small = np.asarray(square.resize((9, 8), Image.Resampling.BOX), dtype=np.int16)
    bits = np.packbits(small[:, 1:] > small[:, :-1])
    return int.from_bytes(bits.tobytes(), "big"), np.asarray(square.resize((SIDE, SIDE), Image.Resampling.BOX)).ravel()


def fingerprints(pictures: list[Image.Image]) -> Prints:
    """Fingerprints of many pictures."""
    hashes, ink = zip(*(fingerprint(picture) for picture in pictures), strict=True)
    return make_prints(list(hashes), np.stack(ink))


def nearest_copies(wanted: Prints, others: Prints) -> NDArray[np.int64]:
    """Index of a copy of each picture among others.

    Args:
        wanted: N pictures.
        others: M pictures to search.

    Returns:
        Indices (N,), -1 where a picture has no copy.
    """
    copies = np.full(len(wanted.hashes), -1, dtype=np.int64)
    # Edges can't agree where their sums differ too much: this spares most of the comparisons.
    ratio = (1 + MAX_EDGE_DIFFERENCE) / (1 - MAX_EDGE_DIFFERENCE)
    for i, (value, total) in enumerate(zip(wanted.hashes, wanted.edge_sums, strict=True)):
        similar = (others.edge_sums <= total * ratio) & (others.edge_sums >= total / ratio)
        close = np.flatnonzero(similar & (np.bitwise_count(others.hashes ^ value) <= MAX_HASH_DISTANCE))
        if len(close):
            differences = edge_difference(wanted.ink[i], others.ink[close])
            best = int(differences.argmin())
            if differences[best] <= MAX_EDGE_DIFFERENCE:
                copies[i] = close[best]
    return copies


def edge_difference(ink: NDArray[np.uint8], others: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Share of two drawings' edges that differs in place: one drawing against M, (M,) in [0, 1]."""
    mine, theirs = _edges(ink[None]), _edges(others)
    difference: NDArray[np.float64] = np.abs(theirs - mine).sum(1) / np.maximum((theirs + mine).sum(1), 1)
    return difference


def _edges(ink: NDArray[np.uint8]) -> NDArray[np.int16]:
    padded = np.pad(ink.reshape(-1, SIDE, SIDE).astype(np.int16), ((0, 0), (1, 1), (1, 1)))
    across = np.abs(padded[:, 1:-1, 2:] - padded[:, 1:-1, :-2])
    down = np.abs(padded[:, 2:, 1:-1] - padded[:, :-2, 1:-1])
    edges: NDArray[np.int16] = (across + down).reshape(len(ink), -1)
    return edges
