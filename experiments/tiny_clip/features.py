"""Locked features of every pre-training picture, and of augmented views, stored once.

    python experiments/tiny_clip/features.py --view 0  # all pictures as they are
    python experiments/tiny_clip/features.py --view 1  # an augmented view of those that the text is tuned on

A killed run goes on from the last block of pictures. Views run side by side, one thread each (OMP_NUM_THREADS=1).
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from augment import augment, to_float
from locked_tower import WIDTH, locked_trunk, normalise
from pictures import BUILD, SIZE, Pictures, load

SEED = 1
MIN_PICTURES = 4
"""The text tower is tuned on names drawn at least so often."""
BLOCK, BATCH = 2048, 32  # small batches stay in the cache: 32 pictures at a time are a third faster than 256


def tuning_rows(pictures: Pictures) -> np.ndarray:
    """Rows of the pictures whose name is drawn at least ``MIN_PICTURES`` times."""
    counts = Counter(pictures.names)
    return np.array([row for row, name in enumerate(pictures.names) if counts[name] >= MIN_PICTURES])


def view_path(view: int) -> Path:
    """The array of one view; view 0 is the picture itself, (N, 1280) half precision."""
    return BUILD / f"features_view{view}.npy"


def extract(view: int, pictures: Pictures, rows: np.ndarray, trunk: torch.nn.Module) -> None:
    """Fill ``view_path(view)``, block by block; the name changes to its final one when it is whole."""
    target = view_path(view)
    if target.exists():
        return
    partial, progress = target.with_suffix(".partial.npy"), target.with_suffix(".progress.json")
    done = json.loads(progress.read_text())["rows"] if progress.exists() and partial.exists() else 0
    if done:
        store = np.lib.format.open_memmap(partial, mode="r+")
    else:
        store = np.lib.format.open_memmap(partial, mode="w+", dtype=np.float16, shape=(len(rows), WIDTH))
    began = time.time()
    for start in range(done, len(rows), BLOCK):
        block = rows[start : start + BLOCK]
        store[start : start + len(block)] = _block_features(view, block, pictures, trunk)
        store.flush()
        progress.write_text(json.dumps({"rows": start + len(block)}))
        print(f"view {view}: {start + len(block)} of {len(rows)}, {time.time() - began:.0f} s", flush=True)
    partial.rename(target)
    progress.unlink(missing_ok=True)


@torch.inference_mode()
def _block_features(view: int, block: np.ndarray, pictures: Pictures, trunk: torch.nn.Module) -> np.ndarray:
    generator = torch.Generator().manual_seed(hash((SEED, view, int(block[0]))))
    features = []
    for start in range(0, len(block), BATCH):
        images = to_float(pictures.pixels[block[start : start + BATCH]])
        if view:
            images = augment(images, SIZE, generator)
        features.append(trunk(normalise(images)))
    return torch.cat(features).half().numpy()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--view", type=int, default=0, help="0: every picture as it is; from 1 on: augmented")
    view = parser.parse_args().view
    pictures = load()
    rows = np.arange(len(pictures.names)) if view == 0 else tuning_rows(pictures)
    extract(view, pictures, rows, locked_trunk())


if __name__ == "__main__":
    main()
