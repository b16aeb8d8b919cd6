"""How far a picture's perceptual hash moves when the picture is changed, and how far apart hashes of others lie.

    python experiments/near_duplicates/measure.py
    python experiments/near_duplicates/measure.py --photographs FOLDER --output OTHER     # with your own too

Writes `results.csv`, the pairs within each distance, and `results.md`, the same in percent and per million.
"""

from __future__ import annotations

import argparse
import csv
import io
import time
from collections.abc import Callable, Iterable, Sequence
from importlib import resources
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance
from sklearn.datasets import load_sample_images

from negprompt.data.shards.archive import read_shard
from negprompt.data.verification.duplicates import HASH_WORDS, MAX_DISTANCE, distances, near_pairs, perceptual_hash

HERE = Path(__file__).parent
THRESHOLDS = (4, 8, 12, 16, 20, 24, 28, 32, 40)
TILE_SIDES = (32, 48, 96, 192)
CHANGED_TILE_SIDE = 96  # smaller crops hardly have the detail that an encoder is asked to keep
CHANGED_DRAWINGS = 400
DISTINCT = ("distinct, of other names", "distinct, of one name")
BICUBIC = Image.Resampling.BICUBIC
Row = dict[str, str | int]


class Pictures(NamedTuple):
    """Distinct pictures, what each shows (a photograph's place, a drawing's noun), and which of them are changed."""

    kind: str
    images: Sequence[Image.Image]
    names: Sequence[str]
    changed: Sequence[int]


def encoded(image: Image.Image, form: str, quality: int) -> Image.Image:
    """The picture after saving and loading."""
    buffer = io.BytesIO()
    image.save(buffer, form, quality=quality)
    return Image.open(io.BytesIO(buffer.getvalue())).convert("RGB")


def scaled(image: Image.Image, factor: float) -> Image.Image:
    """The picture with both sides multiplied."""
    return image.resize((round(image.width * factor), round(image.height * factor)), BICUBIC)


def cropped(image: Image.Image, share: float) -> Image.Image:
    """The picture without a rim: both sides lose this share, at least a pixel at each end."""
    left, top = (max(1, round(side * share / 2)) for side in image.size)
    return image.crop((left, top, image.width - left, image.height - top))


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "JPEG 95": lambda image: encoded(image, "JPEG", 95),
    "JPEG 75": lambda image: encoded(image, "JPEG", 75),
    "JPEG 50": lambda image: encoded(image, "JPEG", 50),
    "WebP 80": lambda image: encoded(image, "WEBP", 80),
    "WebP 50": lambda image: encoded(image, "WEBP", 50),
    "half size": lambda image: scaled(image, 0.5),
    "half size, JPEG 75": lambda image: encoded(scaled(image, 0.5), "JPEG", 75),
    "1.5 times the size": lambda image: scaled(image, 1.5),
    "to 224 x 224": lambda image: image.resize((224, 224), BICUBIC),
    "10 % brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.1),
    "10 % darker": lambda image: ImageEnhance.Brightness(image).enhance(0.9),
    "grey": lambda image: image.convert("L").convert("RGB"),
    "crop 2 %": lambda image: cropped(image, 0.02),
    "crop 5 %": lambda image: cropped(image, 0.05),
    "crop 10 %": lambda image: cropped(image, 0.1),
    "mirrored": lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "turned by 90°": lambda image: image.transpose(Image.Transpose.ROTATE_90),
}


def photographs(kind: str, whole: Sequence[Image.Image]) -> Pictures:
    """Crops of photographs that do not overlap crops of their own size, and the photographs."""
    crops = [
        (str(name), crop)
        for side in (0, *TILE_SIDES)
        for name, image in enumerate(whole)
        for crop in (tiles(image, side) if side else [image])
    ]
    changed = [place for place, (_, crop) in enumerate(crops) if min(crop.size) >= CHANGED_TILE_SIDE]
    return Pictures(kind, [crop for _, crop in crops], [name for name, _ in crops], changed)


def tiles(image: Image.Image, side: int) -> list[Image.Image]:
    """Squares that cover a picture without overlap."""
    corners = [(x, y) for y in range(0, image.height - side + 1, side) for x in range(0, image.width - side + 1, side)]
    return [image.crop((x, y, x + side, y + side)) for x, y in corners]


def drawings(kind: str, pattern: str) -> Pictures:
    """Drawings of the embedded benchmark: all of them, a fixed draw is changed."""
    folder = Path(str(resources.files("negprompt.data") / "resources" / "icons"))
    shards = [path for path in sorted(folder.glob("*.tar")) if path.match(pattern)]
    samples = [sample for shard in shards for sample in read_shard(shard)]
    images = [Image.open(io.BytesIO(sample.encoded)).convert("RGB") for sample in samples]
    changed = np.random.default_rng(0).permutation(len(images))[:CHANGED_DRAWINGS]
    return Pictures(kind, images, [sample.fields["name"] for sample in samples], changed.tolist())


def rows_of(pictures: Pictures) -> list[Row]:
    """Pairs within each distance: a picture and its changed self, then pictures of different names."""
    hashes = stacked(pictures.images)
    shown = hashes.any(axis=1)
    names = np.array(pictures.names)
    changed = [place for place in pictures.changed if shown[place]]
    rows = [
        row(pictures, change, distances(hashes[changed], stacked([make(pictures.images[place]) for place in changed])))
        for change, make in CHANGES.items()
    ]
    apart, alike = distances_between(hashes[shown], names[shown])
    print(f"{pictures.kind}: {len(shown) - shown.sum()} of {len(shown)} pictures show too little", flush=True)
    print(f"    distances to pictures of other names: mean {apart.mean():.0f}, least {apart.min()}", flush=True)
    return [*rows, row(pictures, DISTINCT[0], apart), row(pictures, DISTINCT[1], alike)]


def distances_between(
    hashes: NDArray[np.uint64], names: NDArray[np.str_]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Distances of all pairs of pictures: of other names, and of one name."""
    apart, alike = [], []
    for place in range(len(hashes) - 1):
        later, same = hashes[place + 1 :], names[place + 1 :] == names[place]
        found = distances(np.broadcast_to(hashes[place], later.shape), later)
        apart.append(found[~same])
        alike.append(found[same])
    return np.concatenate(apart), np.concatenate(alike)


def stacked(images: Iterable[Image.Image]) -> NDArray[np.uint64]:
    """Hashes of many pictures."""
    return np.stack([perceptual_hash(image) for image in images])


def row(pictures: Pictures, change: str, found: NDArray[np.int64]) -> Row:
    """One line of results.csv."""
    within = {f"within_{limit}": int((found <= limit).sum()) for limit in THRESHOLDS}
    return {"pictures": pictures.kind, "pair": change, "pairs": len(found), **within}


def table(rows: Sequence[Row]) -> str:
    """The counts as shares: percent for changed pictures, per million for distinct ones."""
    lines = [
        f"| pictures | pair | pairs | {' | '.join(f'≤ {limit}' for limit in THRESHOLDS)} |",
        f"|---|---|---:|{'---:|' * len(THRESHOLDS)}",
    ]
    for line in rows:
        unit, suffix = (1e6, "per million") if line["pair"] in DISTINCT else (100, "%")
        shares = [unit * int(line[f"within_{limit}"]) / int(line["pairs"]) for limit in THRESHOLDS]
        cells = " | ".join(f"{share:.1f}" for share in shares)
        lines.append(f"| {line['pictures']} | {line['pair']}, {suffix} | {line['pairs']:,} | {cells} |")
    return "\n".join(lines) + "\n"


def speed() -> None:
    """Time of a hash, and of comparing 50,000 pictures with 50,000."""
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 256, (256, 256, 3), dtype=np.uint8))
    start = time.perf_counter()
    stacked([image] * 500)
    print(f"hash of a 256 x 256 picture: {(time.perf_counter() - start) * 2:.2f} ms")
    left, right = rng.integers(0, 1 << 63, (2, 50_000, HASH_WORDS), dtype=np.uint64)
    start = time.perf_counter()
    near_pairs(left, right)
    print(f"50,000 x 50,000 pairs: {time.perf_counter() - start:.0f} s")


def main() -> None:
    """Measure, then write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photographs", type=Path, help="folder with photographs (png, jpg) to be cut up as well")
    parser.add_argument("--output", type=Path, default=HERE)
    options = parser.parse_args()
    sets = [photographs("photographs", [Image.fromarray(pixels) for pixels in load_sample_images().images])]
    if options.photographs is not None:
        files = sorted(path for path in options.photographs.iterdir() if path.suffix in (".png", ".jpg"))
        sets.append(photographs("own photographs", [Image.open(path).convert("RGB") for path in files]))
    sets += [drawings("drawings", "[!f]*.tar"), drawings("flags", "flags_*.tar")]
    rows = [line for pictures in sets for line in rows_of(pictures)]
    options.output.mkdir(parents=True, exist_ok=True)
    with (options.output / "results.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    (options.output / "results.md").write_text(f"`MAX_DISTANCE` is {MAX_DISTANCE}.\n\n{table(rows)}", encoding="utf-8")
    print(table(rows))
    speed()


if __name__ == "__main__":
    main()
