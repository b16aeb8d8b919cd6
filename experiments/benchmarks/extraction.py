"""Extraction of image features against the bare image tower, which is all that has to be done.

    python experiments/benchmarks/extraction.py

The tower alone encodes blocks that are in memory; extraction decodes, transforms, encodes and stores the same number
of pictures in blocks of the same sizes. Both in one process with the same threads, in turn, median of the rounds.
Writes `results/extraction.md`.
"""

from __future__ import annotations

import argparse
import logging
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # idle threads sleep

import torch

from negprompt.backbones.base import FrozenBackbone
from negprompt.backbones.embedded import EmbeddedSettings
from negprompt.data.base import Augmentation, load_split
from negprompt.data.icons import IconsID, IconsOOD
from negprompt.features.key import View
from negprompt.features.store import FeatureStore
from negprompt.training.trainer import TrainerSettings

OUTPUT = Path(__file__).parent / "results" / "extraction.md"


def pictures(kind: str) -> list[View]:
    """Test pictures of two sets, or four views of the few-shot training pictures."""
    split = load_split(IconsID(name="icons", num_shots=8), IconsOOD(name="icons"), 1)
    if kind == "test":
        return [View(images) for images in (split.test, split.ood["near"])]
    return [View(split.train, Augmentation(scale_min=0.5), 1, number) for number in range(4)]


@torch.inference_mode()
def tower_seconds(backbone: FrozenBackbone, blocks: Sequence[torch.Tensor]) -> float:
    """Time of encoding blocks that are in memory."""
    start = time.perf_counter()
    for block in blocks:
        backbone.encode_image(block)
    return time.perf_counter() - start


def extraction_seconds(backbone: FrozenBackbone, views: list[View], trainer: TrainerSettings) -> float:
    """Time of filling an empty store."""
    with tempfile.TemporaryDirectory() as folder:
        store = FeatureStore(Path(folder), backbone, "", trainer)
        start = time.perf_counter()
        store.get(views)
        return time.perf_counter() - start


def compare(name: str, kind: str, workers: int, rounds: int) -> str:
    """One line of the table."""
    backbone = EmbeddedSettings(name=name).build()
    trainer = TrainerSettings(accelerator="cpu", num_workers=workers, progress_bar=False)
    views, size = pictures(kind), backbone.image_spec.size
    resident = torch.randn(trainer.eval_batch_size, 3, size, size, generator=torch.Generator().manual_seed(0))
    blocks = [
        resident[: min(len(resident), len(view.images.keys) - start)]
        for view in views
        for start in range(0, len(view.images.keys), len(resident))
    ]
    ratios = []
    for turn in range(rounds + 1):
        alone = tower_seconds(backbone, blocks)
        whole = extraction_seconds(backbone, views, trainer)
        if turn > 0:  # the first round warms up
            ratios.append(alone / whole)
    spread = f"{min(ratios):.2f} - {max(ratios):.2f}"
    count = sum(map(len, blocks))
    return f"| {name} | {kind} | {count} | {workers} | {statistics.median(ratios):.2f} | {spread} |"


def main() -> None:
    """Print the table as markdown and write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--backbone", default="tiny_rn")
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 2])
    options = parser.parse_args()
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    lines = [
        "# Extraction against the bare image tower",
        "",
        f"Written by `{' '.join(['python experiments/benchmarks/extraction.py', *sys.argv[1:]])}`.",
        "Rate of extraction as a share of the tower's rate on blocks in memory; 1 would be no cost beside the tower.",
        "",
        f"{datetime.now(UTC):%d %B %Y}, torch {torch.__version__}, CPU, {torch.get_num_threads()} threads of "
        f"{os.cpu_count()} cores, fp32, OMP_WAIT_POLICY={os.environ['OMP_WAIT_POLICY']}, "
        f"median of {options.rounds} rounds.",
        "",
        "| backbone | pictures | number | `trainer.num_workers` | extraction / tower | range |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for workers in options.workers:
        for kind in ("test", "views"):
            lines.append(compare(options.backbone, kind, workers, options.rounds))
            print(lines[-1], flush=True)
    OUTPUT.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"written to {OUTPUT}")


if __name__ == "__main__":
    main()
