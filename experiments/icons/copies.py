"""Rendering what the benchmark asks for, and leaving out what copies pre-training pictures or one another."""

from __future__ import annotations

import io
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from drawings import Drawing
from duplicates import SIDE, Prints, fingerprints, nearest_copies
from names import Wanted
from PIL import Image
from raster import render
from shards import read_shard
from source import read_icon


class Found(NamedTuple):
    """A picture of the benchmark before it is dealt to a split."""

    part: str
    name: str
    drawing: Drawing
    picture: Image.Image


class _Candidate(NamedTuple):
    drawing: Drawing
    picture: Image.Image
    prints: Prints


def shard_prints(shards: list[Path], workers: int = 2) -> Prints:
    """Fingerprints of every picture of some shards."""
    with ProcessPoolExecutor(workers) as pool:
        parts = list(pool.map(_prints_of_shard, shards))
    return Prints(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))


def find_pictures(
    wanted: list[Wanted], pretrain: Prints, workers: int = 2
) -> tuple[list[Found], dict[str, dict[str, int]]]:
    """Take, for each wish, the first drawing that copies neither pre-training nor an earlier picture.

    Returns:
        The pictures, and per part how many drawings were dropped and why.
    """
    found: list[Found] = []
    reasons: dict[str, Counter[str]] = {}
    kept = _Kept()
    with ProcessPoolExecutor(workers) as pool:
        for wish, candidates in zip(wanted, pool.map(_candidates, wanted, chunksize=64), strict=True):
            counter = reasons.setdefault(wish.part, Counter())
            for candidate in candidates:
                reason = _copied(candidate, pretrain, kept)
                counter[reason] += 1
                if reason == "kept":
                    kept.add(candidate)
                    found.append(Found(wish.part, wish.name, candidate.drawing, candidate.picture))
                    break
            else:
                counter["wishes_without_picture"] += 1
    return found, {part: dict(sorted(counter.items())) for part, counter in reasons.items()}


class _Kept:
    """Fingerprints of the pictures taken so far, in arrays that grow by doubling."""

    def __init__(self) -> None:
        self._count = 0
        self._prints = Prints(
            np.zeros(1024, np.uint64), np.zeros((1024, SIDE * SIDE), np.uint8), np.zeros(1024, np.int64)
        )

    def add(self, candidate: _Candidate) -> None:
        hashes, ink, sums = self._prints
        if self._count == len(hashes):
            hashes, ink, sums = (np.concatenate([array, np.zeros_like(array)]) for array in self._prints)
            self._prints = Prints(hashes, ink, sums)
        hashes[self._count], ink[self._count], sums[self._count] = (array[0] for array in candidate.prints)
        self._count += 1

    @property
    def prints(self) -> Prints:
        hashes, ink, sums = self._prints
        return Prints(hashes[: self._count], ink[: self._count], sums[: self._count])


def _copied(candidate: _Candidate, pretrain: Prints, kept: _Kept) -> str:
    if nearest_copies(candidate.prints, pretrain)[0] >= 0:
        return "copies_of_pretraining"
    return "copies_within_benchmark" if nearest_copies(candidate.prints, kept.prints)[0] >= 0 else "kept"


def _candidates(wish: Wanted) -> list[_Candidate]:
    pictures = ((drawing, render(read_icon(drawing.prefix, drawing.icon))) for drawing in wish.drawings)
    return [
        _Candidate(drawing, picture, fingerprints([picture])) for drawing, picture in pictures if picture is not None
    ]


def _prints_of_shard(shard: Path) -> Prints:
    return fingerprints([Image.open(io.BytesIO(sample.webp)) for sample in read_shard(shard)])
