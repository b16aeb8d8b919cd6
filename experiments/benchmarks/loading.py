"""Loading pictures from files and from shards against the bare decoder, on the same cores in one process.

    python experiments/benchmarks/loading.py

The decoder alone decodes and transforms pictures whose bytes are in memory, in loops on as many processes as the loader
has workers. The loader also reads, checks, collates and hands batches over. All run in turn, the first round warms up,
ratios are the median of the others. Pictures are generated JPEGs of ImageNet's usual size (500 x 375, noise on
gradients, about 90 kB). Writes `results/loading.md` and `.csv`.
"""

from __future__ import annotations

import concurrent.futures
import functools
import io
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import common
import numpy as np
import torch
from PIL import Image

from negprompt.data.classes import Classes
from negprompt.data.datamodule import ImageDataset, SequentialBatches, batch_loader
from negprompt.data.decoding import decode
from negprompt.data.listing import Listing, by_folder
from negprompt.data.shards.folder import ShardFolder
from negprompt.data.shards.prepare import prepare
from negprompt.data.transforms import test_image
from negprompt.data.tree import list_tree
from negprompt.types import ImageSet, ImageSpec

SPEC = ImageSpec(224, (0.481, 0.458, 0.408), (0.269, 0.261, 0.276))
BATCH = 64


def photograph(rng: np.random.Generator) -> bytes:
    """A JPEG that takes a photograph's time to decode."""
    coarse = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    image = np.asarray(Image.fromarray(coarse).resize((500, 375), Image.Resampling.BICUBIC), np.int16)
    noisy = np.clip(image + rng.normal(0, 12, image.shape), 0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noisy).save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


def write_tree(root: Path, count: int, seed: int = 0) -> None:
    """Class folders of 16 pictures."""
    rng = np.random.default_rng(seed)
    for number in range(count):
        folder = root / f"class{number // 16:04d}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number:06d}.JPEG").write_bytes(photograph(rng))


def image_set(listing: Listing) -> ImageSet:
    """All pictures of a listing."""
    return listing.image_set("bench", listing.labels(listing.classes))


def decode_all(encoded: Sequence[bytes]) -> int:
    """The bare decoder: bytes in memory to normalised tensors, one by one."""
    torch.set_num_threads(1)
    return sum(test_image(decode(one, "", ""), SPEC).shape[0] for one in encoded) // 3


def bare_seconds(encoded: Sequence[bytes], pool: concurrent.futures.Executor | None, workers: int) -> float:
    """Time of decoding everything, by this process or by `workers` others that hold their share already."""
    start = time.perf_counter()
    if pool is None:
        decode_all(encoded)
    else:
        list(pool.map(_decode_part, range(workers)))
    return time.perf_counter() - start


_PARTS: list[Sequence[bytes]] = []


def _decode_part(part: int) -> int:
    return decode_all(_PARTS[part])


def loader_seconds(images: ImageSet, workers: int) -> float:
    """Time of one pass of the test loader, after its processes have started (they stay from pass to pass)."""
    dataset = ImageDataset(images, SPEC)
    loader = batch_loader(dataset, SequentialBatches(len(dataset), BATCH), workers, keep_workers=True)
    if workers:
        sum(len(batch["label"]) for batch in loader)
    start = time.perf_counter()
    seen = sum(len(batch["label"]) for batch in loader)
    seconds = time.perf_counter() - start
    if seen != len(dataset):
        raise RuntimeError(f"{seen} of {len(dataset)} pictures were loaded")
    return seconds


def compare(
    sources: dict[str, ImageSet], encoded: Sequence[bytes], workers: int, rounds: int
) -> list[dict[str, object]]:
    """Rows of the table for one number of workers."""
    _PARTS[:] = [encoded[part :: max(1, workers)] for part in range(max(1, workers))]
    pool = concurrent.futures.ProcessPoolExecutor(workers) if workers else None  # forked now, with their shares
    ratios: dict[str, list[float]] = {name: [] for name in sources}
    speeds: list[float] = []
    for turn in range(rounds + 1):
        bare = bare_seconds(encoded, pool, workers)
        for name, images in sources.items():
            ratio = bare / loader_seconds(images, workers)
            if turn:
                ratios[name].append(ratio)
        speeds.append(len(encoded) / bare)
    if pool is not None:
        pool.shutdown()
    return [
        {
            "from": name,
            "workers": workers,
            "loader / bare decoder": common.spread(ratios[name]),
            "bare decoder, pictures/s": round(float(np.median(speeds[1:]))),
        }
        for name in sources
    ]


def main() -> None:
    arguments = common.parser(__doc__)
    arguments.add_argument("--pictures", type=int, default=1024)
    arguments.add_argument("--workers", type=int, nargs="+", default=[0, 2])
    given = common.checked(arguments)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        root, shards = Path(folder) / "files", Path(folder) / "shards"
        write_tree(root, given.pictures)
        listing = by_folder(list_tree(root))
        prepare(
            {"test": listing}, Classes(listing.classes, listing.classes), shards, name="bench", max_bytes=20_000_000
        )
        sources = {
            "files": image_set(listing),
            "shards": image_set(ShardFolder.open(str(shards), None, 1.0).listing("test")),
        }
        encoded = list(listing.contents)
        measure = functools.partial(compare, sources, encoded, rounds=given.rounds)
        rows = [row for workers in given.workers for row in measure(workers)]
    kilobytes = np.mean([len(one) for one in encoded]) / 1000
    notes = [
        f"{given.pictures} JPEGs of 500 x 375, {kilobytes:.0f} kB each, in batches of {BATCH}; all in the page cache",
        "Ratios above 1 come from processes that work in a row: 1 is the decoder's own speed",
        "With workers, their start is not counted: they stay from pass to pass (persistent workers)",
    ]
    common.write("loading", "Loading pictures against the bare decoder", rows, notes, given)


if __name__ == "__main__":
    main()
