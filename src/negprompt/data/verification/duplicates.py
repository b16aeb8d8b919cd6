"""Pictures that stand on two sides of a benchmark: the same file, or the same picture saved, resized or lit anew."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

HASH_WORDS = 4
"""A hash is this many 64-bit words."""

MAX_DISTANCE = 20
"""Bits of 256 in which near duplicates may differ. Measured (experiments/near_duplicates): after JPEG, WebP, resizing,
10 % of brightness or loss of colour, 96 % of the crops of photographs and all drawings are within; after losing 2 % of
both sides 85 and 98 %, 5 %: 29 and 57 %. None of 93,000 distinct pairs of photographs is within, of drawings 6 per
million pairs, lookalikes."""

_SIDE = 32
_COEFFICIENTS = 32 * HASH_WORDS
_LOUD = 0.25
"""A coefficient counts from this multiple of the picture's mean on, both weighted by frequency: what is faint beside
the rest turns its sign when a picture is cropped a little."""
_NOISE = 3.0
"""And from this absolute value on (orthonormal DCT of grey levels): less may be an encoder's noise."""
_MIN_BITS = 48
"""Number of coefficients that count below which unlike pictures lie within MAX_DISTANCE of each other by chance."""
_BLOCK = (64, 4096)
"""Rows of the left and of the right side compared at once: 2 MB, which fits a core's own cache."""


class _BitCounter(NamedTuple):
    """A way to count the bits set in integers, and the integers that it takes."""

    unit: type[np.unsignedinteger]
    bits_set: Callable[[NDArray[np.unsignedinteger]], NDArray[np.uint8]]


def perceptual_hash(image: Image.Image) -> NDArray[np.uint64]:
    """Hash of what is seen: few bits change when a picture is encoded, resized or lit differently.

    The signs of the 128 lowest frequencies of a 32 x 32 grey picture, two bits each: 10 clearly positive, 01 clearly
    negative, 00 neither. What a symmetric drawing lacks is 00 whatever noise an encoder adds, where a plain sign would
    be drawn by lot.

    Args:
        image: a decoded picture of any size; colour and transparency are not looked at.

    Returns:
        The hash, (HASH_WORDS,). All zeros if the picture shows too little to be told from others: it is nobody's near
        duplicate, only the hash of its file tells.
    """
    # Averages over twice a cell's width: a mean of whole pixels only would jump when the picture is resized.
    small = image.convert("L").resize((_SIDE, _SIDE), Image.Resampling.BILINEAR, reducing_gap=3.0)
    coefficients = (_BASIS @ np.asarray(small, dtype=np.float64) @ _BASIS.T).ravel()[_LOWEST]
    loudness = np.abs(coefficients * _FREQUENCIES).mean()  # pictures fade with frequency, about as 1 / f
    threshold = np.maximum(_LOUD * loudness / _FREQUENCIES, _NOISE)
    bits = np.concatenate([coefficients > threshold, coefficients < -threshold])
    if bits.sum() < _MIN_BITS:
        return np.zeros(HASH_WORDS, dtype=np.uint64)
    return np.packbits(bits).view(np.uint64)


def distances(left: NDArray[np.uint64], right: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Number of bits in which the hashes of each row differ.

    Args:
        left: hashes, (N, W).
        right: hashes, (N, W).

    Returns:
        Hamming distances, (N,).
    """
    differing = np.bitwise_xor(left, right).view(np.uint8)
    bits: NDArray[np.int64] = np.unpackbits(differing, axis=-1).sum(axis=-1, dtype=np.int64)
    return bits


def near_pairs(
    left: NDArray[np.uint64], right: NDArray[np.uint64], max_distance: int = MAX_DISTANCE
) -> NDArray[np.int64]:
    """All pairs of pictures whose hashes differ in few bits; exact, in blocks of a few MB.

    Args:
        left: hashes, (N, W); rows of zeros show nothing and are in no pair.
        right: hashes, (M, W).
        max_distance: number of bits that may differ.

    Returns:
        Pairs (row in left, row in right), (K, 2), in ascending order. Of pictures that all look alike these are all
        N x M pairs: memory is bounded by what is found.

    Raises:
        ValueError: the hashes are not of one length.
    """
    if left.ndim != 2 or right.ndim != 2 or left.shape[1] != right.shape[1]:
        msg = f"Hashes must be (N, W) and (M, W) with one W, not {left.shape} and {right.shape}."
        raise ValueError(msg)
    left_rows, right_rows = np.flatnonzero(left.any(axis=1)), np.flatnonzero(right.any(axis=1))
    left_units, right_units = _columns(left[left_rows]), _columns(right[right_rows])
    height, width = _BLOCK
    found = [np.empty((0, 2), dtype=np.int64)]
    for top in range(0, len(left_rows), height):
        for start in range(0, len(right_rows), width):
            block = _block_distances(left_units[:, top : top + height], right_units[:, start : start + width])
            rows, columns = np.nonzero(block <= max_distance)
            if len(rows):
                found.append(np.column_stack([left_rows[top + rows], right_rows[start + columns]]))
    pairs = np.concatenate(found)
    return pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]


def exact_pairs(left: NDArray[np.uint8], right: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Pictures on the right whose file is on the left as well.

    Args:
        left: hashes of files, (N, B) bytes.
        right: hashes of files, (M, B) bytes.

    Returns:
        Pairs (row in left, row in right), (K, 2): every row of the right side that is on the left, once, in
        ascending order, with the first row of the left side that equals it.

    Raises:
        ValueError: the hashes are not of one length.
    """
    if left.ndim != 2 or right.ndim != 2 or left.shape[1] != right.shape[1]:
        msg = f"Hashes must be (N, B) and (M, B) with one B, not {left.shape} and {right.shape}."
        raise ValueError(msg)
    first: dict[bytes, int] = {}
    for row, digest in enumerate(left):
        first.setdefault(digest.tobytes(), row)
    partners = (first.get(digest.tobytes()) for digest in right)
    pairs = [(partner, row) for row, partner in enumerate(partners) if partner is not None]
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)


def _columns(hashes: NDArray[np.uint64]) -> NDArray[np.unsignedinteger]:
    """Hashes (N, W) in the counter's units, unit by unit: (U, N)."""
    return np.ascontiguousarray(np.ascontiguousarray(hashes).view(_COUNTER.unit).T)


def _block_distances(left: NDArray[np.unsignedinteger], right: NDArray[np.unsignedinteger]) -> NDArray[np.uint16]:
    """Hamming distances (N, M) between columns (U, N) and (U, M)."""
    total = np.zeros((left.shape[1], right.shape[1]), dtype=np.uint16)
    for mine, theirs in zip(left, right, strict=True):
        total += _COUNTER.bits_set(mine[:, None] ^ theirs)
    return total


def _bit_counter() -> _BitCounter:
    """Numpy's own counter, or before numpy 2.0 a table: four times slower."""
    if hasattr(np, "bitwise_count"):
        return _BitCounter(np.uint64, np.bitwise_count)
    return _table_counter()


def _table_counter() -> _BitCounter:
    table = np.array([number.bit_count() for number in range(1 << 16)], dtype=np.uint8)
    return _BitCounter(np.uint16, table.take)


def _cosines() -> NDArray[np.float64]:
    """Orthonormal cosine basis, (frequencies, pixels)."""
    pixels = np.arange(_SIDE)
    basis: NDArray[np.float64] = np.cos(np.pi * np.outer(pixels, pixels + 0.5) / _SIDE) * np.sqrt(2 / _SIDE)
    basis[0] /= np.sqrt(2)
    return basis


def _lowest_frequencies() -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Places in the flattened transform of the lowest frequencies but the mean, and these frequencies."""
    frequencies = np.hypot(*np.indices((_SIDE, _SIDE))).ravel()
    places = np.argsort(frequencies, kind="stable")[1 : _COEFFICIENTS + 1]
    return places, frequencies[places]


_COUNTER = _bit_counter()
_BASIS = _cosines()
_LOWEST, _FREQUENCIES = _lowest_frequencies()
