"""Decode the pre-training shards once into a memory-mapped array: a training step then reads bytes, decodes nothing.

Decoding 256 lossless WebP takes a third of a training step on two cores; the array is 3 GB and stays in the page cache.

    python experiments/tiny_clip/pictures.py
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import webdataset as wds
from PIL import Image

SIZE = 96
BUILD = Path(__file__).parent / "build"
SHARDS = Path(__file__).parents[1] / "icons" / "build"
PIXELS, RECORDS = BUILD / "pictures.npy", BUILD / "pictures.json"


@dataclass(frozen=True)
class Pictures:
    """All pre-training pictures: ``pixels`` (N, 96, 96, 3) uint8, and the name each is drawn for."""

    pixels: np.ndarray
    names: list[str]
    families: list[str]


def decode(webp: bytes) -> np.ndarray:
    """One picture as RGB on white, (96, 96, 3) uint8."""
    picture = Image.open(io.BytesIO(webp)).convert("RGB")
    if picture.size != (SIZE, SIZE):
        picture = picture.resize((SIZE, SIZE), Image.Resampling.BICUBIC)
    return np.asarray(picture)


def read_shards(shards: list[Path]) -> wds.WebDataset:
    """Samples of ``shards`` in order, as (pixels, record)."""
    urls = [str(path) for path in shards]
    samples = wds.WebDataset(urls, shardshuffle=False, empty_check=False)
    return samples.to_tuple("webp", "json").map_tuple(decode, json.loads)


def load() -> Pictures:
    """The stored pictures.

    Raises:
        FileNotFoundError: if they have not been decoded yet.
    """
    if not RECORDS.exists():
        raise FileNotFoundError(f"{RECORDS} is missing: run experiments/tiny_clip/pictures.py first.")
    records = json.loads(RECORDS.read_text())
    pixels = np.load(PIXELS, mmap_mode="r")
    return Pictures(pixels, [record["name"] for record in records], [record["family"] for record in records])


def main() -> None:
    if RECORDS.exists():
        print(f"{RECORDS} is there already")
        return
    if not (SHARDS / "PRETRAIN_DONE").exists():
        raise FileNotFoundError(f"{SHARDS} holds no finished shards: run experiments/icons/build.py first.")
    BUILD.mkdir(exist_ok=True)
    count = json.loads((SHARDS / "pretrain.json").read_text())["pictures"]
    partial = PIXELS.with_suffix(".partial.npy")
    pixels = np.lib.format.open_memmap(partial, mode="w+", dtype=np.uint8, shape=(count, SIZE, SIZE, 3))
    records = []
    for row, (picture, record) in enumerate(read_shards(sorted(SHARDS.glob("pretrain-*.tar")))):
        pixels[row] = picture
        records.append(record)
    if len(records) != count:
        raise ValueError(f"The shards hold {len(records)} pictures, pretrain.json says {count}: build them again.")
    pixels.flush()
    partial.rename(PIXELS)
    text = RECORDS.with_suffix(".partial.json")
    text.write_text(json.dumps(records))
    text.rename(RECORDS)  # written last: its presence says that the store is whole
    print(f"{count} pictures of {len({record['name'] for record in records})} names")


if __name__ == "__main__":
    main()
