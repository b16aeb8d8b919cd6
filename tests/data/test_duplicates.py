"""Near and exact duplicates: what changes a hash, and pairs against brute force."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageEnhance
from sklearn.datasets import load_sample_images

from negprompt.data.verification import duplicates
from negprompt.data.verification.duplicates import (
    HASH_WORDS,
    MAX_DISTANCE,
    distances,
    exact_pairs,
    near_pairs,
    perceptual_hash,
)

NOTHING = np.zeros(HASH_WORDS, dtype=np.uint64)


@pytest.fixture(scope="module")
def photographs():
    whole = [Image.fromarray(pixels) for pixels in load_sample_images().images]
    return [image.crop((x, 0, x + 320, 427)) for image in whole for x in (0, 320)]


def drawing(*corners):
    """Black on white, symmetric about the upright axis: half of all frequencies are missing."""
    image = Image.new("RGB", (96, 96), "white")
    for left, top, height in corners:
        ImageDraw.Draw(image).rectangle((left, top, 95 - left, top + height), fill="black")
    return image


DRAWINGS = [
    drawing((38, 8, 7), (20, 16, 30), (8, 60, 24)),
    drawing((8, 10, 4), (30, 22, 9), (44, 40, 40)),
    drawing((20, 5, 20), (42, 30, 11), (12, 47, 5), (33, 70, 18)),
]


def saved(image, form, quality):
    buffer = io.BytesIO()
    image.save(buffer, form, quality=quality)
    return Image.open(io.BytesIO(buffer.getvalue()))


def apart(first, second):
    return int(distances(perceptual_hash(first)[None], perceptual_hash(second)[None])[0])


def bits_apart(left, right):
    """Hamming distances of all pairs, by Python's integers."""
    return np.array(
        [[sum((int(a) ^ int(b)).bit_count() for a, b in zip(x, y, strict=True)) for y in right] for x in left]
    )


def words(rng, rows):
    return rng.integers(0, 1 << 64, (rows, HASH_WORDS), dtype=np.uint64)


def scattered(rng, rows):
    """Hashes of a few families, each a few bits from its family's, and rows of nothing."""
    hashes = words(rng, 4)[rng.integers(0, 4, rows)]
    for row in range(rows):
        for bit in rng.integers(0, 64 * HASH_WORDS, rng.integers(0, 16)):
            hashes[row, bit // 64] ^= np.uint64(1) << np.uint64(bit % 64)
    hashes[rng.random(rows) < 0.1] = 0
    return hashes


@pytest.mark.parametrize(("form", "quality"), [("JPEG", 95), ("JPEG", 75), ("JPEG", 50), ("WEBP", 80), ("WEBP", 50)])
def test_a_reencoded_picture_is_found(photographs, form, quality):
    for image in photographs + DRAWINGS:
        assert apart(image, saved(image, form, quality)) <= MAX_DISTANCE


@pytest.mark.parametrize("size", [(48, 48), (144, 144), (224, 224), (300, 200), (2000, 1500)])
def test_a_resized_picture_is_found_whatever_its_new_shape(photographs, size):
    for image in photographs + DRAWINGS:
        assert apart(image, image.resize(size, Image.Resampling.BICUBIC)) <= MAX_DISTANCE


@pytest.mark.parametrize("factor", [0.9, 1.1])
def test_a_brighter_or_darker_picture_is_found(photographs, factor):
    for image in photographs + DRAWINGS:
        assert apart(image, ImageEnhance.Brightness(image).enhance(factor)) <= MAX_DISTANCE


def test_a_picture_that_lost_two_percent_of_its_sides_is_found(photographs):
    for image in photographs + DRAWINGS:
        left, top = (max(1, side // 100) for side in image.size)
        assert apart(image, image.crop((left, top, image.width - left, image.height - top))) <= MAX_DISTANCE


def test_colour_is_not_looked_at(photographs):
    for image in photographs:
        assert apart(image, image.convert("L")) == 0
        assert apart(image, image.convert("L").convert("RGBA")) == 0


def test_distinct_pictures_are_far_apart(photographs):
    pictures = photographs + DRAWINGS
    hashes = np.stack([perceptual_hash(image) for image in pictures])
    between = bits_apart(hashes, hashes)[~np.eye(len(pictures), dtype=bool)]
    assert between.min() > 2 * MAX_DISTANCE


def test_a_mirrored_picture_is_not_found_as_the_readme_says(photographs):
    for image in photographs:
        assert apart(image, image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)) > MAX_DISTANCE


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (256, 256)])
@pytest.mark.parametrize("colour", ["black", "white", "teal"])
def test_one_colour_shows_nothing(size, colour):
    np.testing.assert_array_equal(perceptual_hash(Image.new("RGB", size, colour)), NOTHING)


def test_noise_of_an_encoder_and_a_faint_gradient_show_nothing():
    noise = np.random.default_rng(0).normal(128, 2, (96, 96, 3)).astype(np.uint8)
    gradient = np.broadcast_to(np.linspace(100, 140, 96).astype(np.uint8)[:, None, None], (96, 96, 3))
    for pixels in (noise, gradient):
        np.testing.assert_array_equal(perceptual_hash(Image.fromarray(pixels.copy())), NOTHING)


def test_hashing_leaves_the_picture_as_it_was(photographs):
    image = photographs[0].copy()
    before = image.tobytes()
    perceptual_hash(image)
    assert (image.tobytes(), image.mode, image.size) == (before, "RGB", (320, 427))


def test_distances_count_bits_row_by_row():
    rng = np.random.default_rng(0)
    left, right = words(rng, 7), words(rng, 7)
    np.testing.assert_array_equal(distances(left, right), bits_apart(left, right).diagonal())
    np.testing.assert_array_equal(distances(left, ~left), [64 * HASH_WORDS] * 7)


@pytest.fixture(params=["as installed", "before numpy 2.0"])
def counter(request, monkeypatch):
    """Both ways to count bits, and blocks that are smaller than the arrays."""
    monkeypatch.setattr(duplicates, "_BLOCK", (8, 16))
    if request.param == "before numpy 2.0":
        monkeypatch.delattr(np, "bitwise_count", raising=False)
        monkeypatch.setattr(duplicates, "_COUNTER", duplicates._bit_counter())
        assert duplicates._COUNTER.unit is np.uint16


@pytest.mark.parametrize("limit", [0, 7, MAX_DISTANCE, 256])
def test_near_pairs_are_those_of_brute_force_in_order(counter, limit):
    rng = np.random.default_rng(limit)
    families = scattered(rng, 75)
    left, right = families[:45], families[45:]
    near = (bits_apart(left, right) <= limit) & left.any(axis=1)[:, None] & right.any(axis=1)
    assert near.any()
    np.testing.assert_array_equal(near_pairs(left, right, limit), np.argwhere(near))


def test_the_whole_range_of_distances_is_counted(counter):
    ones = np.full((1, HASH_WORDS), np.iinfo(np.uint64).max, dtype=np.uint64)
    one_bit = np.array([[0, 0, 0, 1]], dtype=np.uint64)
    assert len(near_pairs(ones, one_bit, 255)) == 1
    assert len(near_pairs(ones, one_bit, 254)) == 0


def test_hashes_that_differ_in_every_bit_are_not_taken_for_equal(counter):
    even = np.full((1, HASH_WORDS), 0x5555555555555555, dtype=np.uint64)
    assert near_pairs(even, ~even, 255).tolist() == []
    assert near_pairs(even, ~even, 256).tolist() == [[0, 0]]


def test_the_order_of_rows_changes_nothing_but_their_numbers(counter):
    rng = np.random.default_rng(5)
    left, right = scattered(rng, 40), scattered(rng, 30)
    right[3] = left[left.any(axis=1)][0]
    shuffle = rng.permutation(40)
    pairs, shuffled = near_pairs(left, right), near_pairs(left[shuffle], right)
    assert {tuple(pair) for pair in pairs.tolist()} == {
        (int(shuffle[row]), column) for row, column in shuffled.tolist()
    }
    assert {tuple(pair[::-1]) for pair in pairs.tolist()} == {tuple(pair) for pair in near_pairs(right, left).tolist()}


def test_pictures_that_show_nothing_are_in_no_near_pair():
    assert len(near_pairs(np.stack([NOTHING] * 3), np.stack([NOTHING] * 2), 256)) == 0


@pytest.mark.parametrize(("rows", "columns"), [(0, 0), (0, 3), (3, 0), (1, 1)])
def test_empty_sides_have_no_pairs_and_one_picture_has_itself(rows, columns):
    rng = np.random.default_rng(0)
    hashes = words(rng, 3)
    pairs = near_pairs(hashes[:rows], hashes[:columns])
    assert (pairs.dtype, pairs.tolist()) == (np.int64, [[0, 0]] * min(rows, columns))
    files = rng.integers(0, 256, (3, 32), dtype=np.uint8)
    pairs = exact_pairs(files[:rows], files[:columns])
    assert (pairs.dtype, pairs.shape, pairs.tolist()) == (np.int64, (min(rows, columns), 2), [[0, 0]] * len(pairs))


def test_hashes_of_different_length_are_refused():
    with pytest.raises(ValueError, match="one W"):
        near_pairs(np.zeros((2, 4), dtype=np.uint64), np.zeros((2, 2), dtype=np.uint64))
    with pytest.raises(ValueError, match="one B"):
        exact_pairs(np.zeros((2, 32), dtype=np.uint8), np.zeros((2, 16), dtype=np.uint8))


def test_every_right_row_that_is_on_the_left_comes_once_with_its_first_partner():
    a, b, c, d = np.random.default_rng(0).integers(0, 256, (4, 32), dtype=np.uint8)
    assert exact_pairs(np.stack([a, b, a, c]), np.stack([c, d, a, a, b])).tolist() == [[3, 0], [0, 2], [0, 3], [1, 4]]


def test_files_that_differ_in_one_byte_are_not_equal():
    digest = np.zeros((1, 32), dtype=np.uint8)
    other = digest.copy()
    other[0, 31] = 1
    assert len(exact_pairs(digest, other)) == 0
    assert exact_pairs(digest, digest).tolist() == [[0, 0]]


def test_a_flat_picture_is_found_by_its_file():
    digest = np.full((1, 32), 7, dtype=np.uint8)
    flat = perceptual_hash(Image.new("RGB", (96, 96), "white"))[None]
    assert len(near_pairs(flat, flat)) == 0
    assert len(exact_pairs(digest, digest)) == 1
