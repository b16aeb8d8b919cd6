"""Work that several processes do together, as a script: `python several_processes.py FOLDER ROOT 1 2 3`.

Run through `together`, which returns what rank 0 saved; with one process it is the reference.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from helpers import CLASS_NAMES, coop, request, shared_backbone, two_stage
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from negprompt import api, ranks
from negprompt.features.settings import FeatureSettings
from negprompt.methods.base import PromptLearning, share_of_batch
from negprompt.methods.caption_adapter import framed
from negprompt.methods.caption_training import CaptionTraining
from negprompt.methods.clipn_tower import NoTextTraining
from negprompt.methods.locoop import LoCoOpSettings
from negprompt.methods.one_stage import OneStageSettings
from negprompt.methods.zoc_decoder import DecoderTraining
from negprompt.prompts.caption_decoder import CaptionDecoder, DecoderSettings
from negprompt.prompts.context import initial_context
from negprompt.prompts.no_text import NoText
from negprompt.training.schedule import AdamWSettings
from negprompt.training.trainer import TrainerSettings
from negprompt.types import PromptBundle

NAMES = (*CLASS_NAMES[:4], "Mexican hairless dog (xoloitzcuintli)")
BATCH = 7
CASES = {
    "coop": {"names": NAMES},
    "coop, batch shared": {"names": NAMES, "split": True},
    "coop, two classes": {"names": NAMES[:2]},
    "coop, class-specific": {"names": NAMES, "class_specific": True},
    "coop, in chunks": {"names": NAMES, "chunk": 1},
    "negprompt": {"names": NAMES, "negatives": 2},
    "negprompt, batch shared": {"names": NAMES, "negatives": 3, "split": True},
    "negprompt, one class": {"names": NAMES[-1:], "negatives": 1},
    "negprompt, class-specific": {"names": NAMES, "negatives": 1, "class_specific": True},
    "locoop": {"names": NAMES, "kind": LoCoOpSettings},
    "locoop, batch shared": {"names": NAMES, "kind": LoCoOpSettings, "split": True},
    "one_stage": {"names": NAMES, "kind": OneStageSettings},
    "one_stage, batch shared": {"names": NAMES, "kind": OneStageSettings, "split": True},
}


def stage(
    names: tuple[str, ...],
    negatives: int = 0,
    *,
    class_specific: bool = False,
    kind: type[LoCoOpSettings | OneStageSettings] | None = None,
) -> PromptLearning:
    settings: dict[str, Any] = {"class_specific": class_specific, "context_init": "random"}
    if kind is not None:
        forms = {} if kind is LoCoOpSettings else {"nis": "multilabel_margin", "nnd_weight": 1.0}
        recipe = coop().optimizer
        return kind(name="x", optimizer=recipe, **settings, **forms).module(shared_backbone(), names, 0, None)
    if not negatives:
        return coop(**settings).module(shared_backbone(), names, 0, None)
    context = initial_context(shared_backbone(), 4, "random", "", 0, len(names) if class_specific else None)
    layout = {"class_token_position": "end", "full_stop": False, "train_class_names": list(names)}
    return two_stage(num_negatives=negatives, **settings).module(
        shared_backbone(), names, 0, PromptBundle(context, None, layout)
    )


class Loss(nn.Module):
    """The weighted loss of a stage as a module, so that DDP can wrap it; the backbone is none of its parameters."""

    def __init__(self, method: PromptLearning) -> None:
        super().__init__()
        self.method = method

    def forward(self, images: Tensor, regions: Tensor, labels: Tensor) -> Tensor:
        loss, _ = self.method.batch_loss({"image_features": images, "local_features": regions, "label": labels})
        return share_of_batch(len(labels), loss.device) * loss


def gradient(
    names: tuple[str, ...],
    negatives: int = 0,
    *,
    split: bool = False,
    class_specific: bool = False,
    chunk: Any = "auto",
    kind: type[LoCoOpSettings | OneStageSettings] | None = None,
) -> Tensor:
    """Gradients of all contexts after one backward pass, averaged by DDP where there are several processes."""
    shared_backbone().text_chunk = chunk
    generator = torch.Generator().manual_seed(0)
    images, regions = torch.randn(BATCH, 16, generator=generator), torch.randn(BATCH, 9, 16, generator=generator)
    labels = torch.arange(BATCH) % len(names)
    if split:
        mine = slice(ranks.rank(), None, ranks.world_size())
        images, regions, labels = images[mine], regions[mine], labels[mine]
    method = stage(names, negatives, class_specific=class_specific, kind=kind)
    module: nn.Module = Loss(method)
    if ranks.world_size() > 1:
        module = DistributedDataParallel(module)
    module(images, regions, labels).backward()
    gradients = [parameter.grad for parameter in method.parameters() if parameter.requires_grad]
    found = [gradient.flatten() for gradient in gradients if gradient is not None]
    if not found or len(found) < len(gradients):
        raise AssertionError("no gradient")
    return torch.cat(found)


def clipn_gradients() -> dict[str, Tensor]:
    """Gradients of CLIPN's tower after one backward pass; processes have different numbers of pairs."""
    backbone, generator = shared_backbone(), torch.Generator().manual_seed(0)
    batch = some_pairs(generator)
    tower = NoText(backbone)
    with torch.no_grad():  # where both towers are the same, rounding errors of the lengths are magnified
        for parameter in tower.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    return gradients_of(NoTextTraining(backbone, tower, AdamWSettings(), 1, 0), tower, batch)


def some_pairs(generator: torch.Generator) -> dict[str, Tensor]:
    """A batch of pictures with captions."""
    backbone = shared_backbone()
    ids = [framed(backbone, f"a photo of a {CLASS_NAMES[row]}") for row in range(BATCH)]
    tokens = torch.zeros(BATCH, max(map(len, ids)), dtype=torch.long)
    for row, sequence in enumerate(ids):
        tokens[row, : len(sequence)] = torch.tensor(sequence)
    return {
        "image": torch.randn(BATCH, 3, 32, 32, generator=generator),
        "tokens": tokens,
        "end": torch.tensor([len(sequence) - 1 for sequence in ids]),
        "row": torch.arange(BATCH),
        "epoch": torch.zeros(BATCH, dtype=torch.long),
    }


def zoc_gradients() -> dict[str, Tensor]:
    """Gradients of ZOC's decoder after one backward pass; processes have different numbers of pairs and tokens."""
    backbone, generator = shared_backbone(), torch.Generator().manual_seed(0)
    batch = some_pairs(generator)
    vocabulary = torch.unique(batch["tokens"])
    decoder = CaptionDecoder(vocabulary, 16, 76, DecoderSettings(width=16, layers=2, heads=2))
    return gradients_of(DecoderTraining(backbone, decoder, AdamWSettings(), 1), decoder, batch)


def gradients_of(method: CaptionTraining, trained: nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    mine = {name: value[ranks.rank() :: ranks.world_size()] for name, value in batch.items()}
    module: nn.Module = WeightedLoss(method)
    if ranks.world_size() > 1:
        module = DistributedDataParallel(module)
    module(mine).backward()
    return {name: parameter.grad for name, parameter in trained.named_parameters() if parameter.grad is not None}


class WeightedLoss(nn.Module):
    """The weighted loss of what is trained on captions, as a module."""

    def __init__(self, method: CaptionTraining) -> None:
        super().__init__()
        self.method = method

    def forward(self, batch: Any) -> Tensor:
        loss, _ = self.method.loss(batch)
        return share_of_batch(len(batch["row"]), loss.device) * loss


def run(root: Path, runs_dir: Path, mode: str) -> Path:
    """A whole two-stage run; returns its folder."""
    trainer = TrainerSettings(accelerator="cpu", devices=ranks.world_size(), progress_bar=False)
    features = FeatureSettings(mode=mode, views=3)  # type: ignore[arg-type]
    return api.train(request(root, runs_dir, trainer=trainer, features=features)).folder


def work(output: Path, root: Path) -> dict[str, Any]:
    saved: dict[str, Any] = {name: gradient(**case) for name, case in CASES.items()}
    saved["clipn"], saved["zoc"] = clipn_gradients(), zoc_gradients()
    saved["runs"] = {mode: str(run(root, output.parent / output.stem, mode)) for mode in ("none", "store")}
    if ranks.rank() == 0:
        torch.save(saved, output)
    return saved


def together(numbers: Sequence[int], folder: Path, root: Path) -> dict[int, dict[str, Any]]:
    """What rank 0 found, by number of processes. All are forked from one that has imported everything."""
    words = [sys.executable, __file__, str(folder), str(root), *map(str, numbers)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return {number: dict(torch.load(folder / f"{number}.pt", weights_only=True)) for number in numbers}


def start(processes: int, output: Path, root: Path) -> None:
    """Fork the processes of one number and wait for them."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), NODE_RANK="0", WORLD_SIZE=str(processes))
    forked = []
    for rank in range(processes):
        if not (child := os.fork()):
            os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank))
            try:
                ranks.join(processes, on_gpu=False)
                work(output, root)
            except BaseException:  # noqa: BLE001 -- told by the exit code
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        forked.append(child)
    if any(os.waitpid(child, 0)[1] for child in forked):
        sys.exit(f"{processes} processes failed")


if __name__ == "__main__":
    given, benchmark, *wanted = sys.argv[1:]
    for number in map(int, wanted):
        start(number, Path(given, f"{number}.pt"), Path(benchmark))
