"""Where what is trained on captions comes from: a file that somebody has, or training that all runs share."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from negprompt.backbones.base import FrozenBackbone
from negprompt.backbones.embedded import shipped_adapter
from negprompt.data.base import Augmentation
from negprompt.data.caption_loader import CaptionDataModule, CaptionDataset
from negprompt.data.captions import Captions
from negprompt.errors import PromptMismatchError
from negprompt.methods.base import Surroundings
from negprompt.methods.caption_training import CaptionTraining
from negprompt.prompts import bundle as bundles
from negprompt.prompts.bundle import Adapter
from negprompt.ranks import rank, world_size
from negprompt.runs.folder import request_hash, run_name
from negprompt.training.once import Work, made_once
from negprompt.training.sampler import EpochBatchSampler
from negprompt.training.schedule import AdamWSettings

PLACE = "_adapters"
"""Folder below `paths.runs_dir` with what is trained once for all benchmarks."""


class Recipe(NamedTuple):
    """What is trained, and how.

    `method`: its name; `schema`: number of the training, raised when equal settings would give something else;
    `own`: JSON values of the method's own settings, for the hash; `make`: number of steps -> the module.
    """

    method: str
    schema: int
    own: Mapping[str, Any]
    training: AdamWSettings
    augmentation: Augmentation
    make: Callable[[int], CaptionTraining]


def adapter_file(given: str, method: str, other_files: str = "") -> Path:
    """The file that `method.adapter` names: itself, the one in a run folder, or one that ships with the package.

    Args:
        given: the setting.
        method: whose setting it is, for the message.
        other_files: what else may be given, for the message.

    Raises:
        PromptMismatchError: there is none.
    """
    if (shipped := shipped_adapter(given, method)) is not None:
        return shipped
    path = Path(given).expanduser()
    file = path / bundles.ADAPTER_FILE if path.is_dir() else path
    if not file.is_file():
        msg = (
            f"method.adapter={given}: there is no file {file}. Give a finished run of method={method}, its "
            f"{bundles.ADAPTER_FILE}, {other_files}embedded/tiny_rn (for backbone=tiny_rn), or null to train one on "
            "method.captions."
        )
        raise PromptMismatchError(msg)
    return file


def file_sha256(file: Path) -> str:
    """Hash of a file's content."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def train_adapter(captions: Captions, recipe: Recipe, around: Surroundings) -> Adapter:
    """The adapter that these pairs and settings give, trained where no run has done it yet.

    Raises:
        NegPromptError: the folder cannot be written, or a picture cannot be decoded.
    """
    backbone, training = around.backbone, recipe.training
    made_from: dict[str, Any] = {
        "schema": recipe.schema,
        "seed": around.seed,
        "backbone": {"name": backbone.name, "weights_sha256": around.weights_sha256},
        "captions_sha256": captions.sha256(),
        **recipe.own,
        "training": training.hash_payload(),
        "augmentation": recipe.augmentation.hash_payload(),
        "trainer": around.trainer.hash_payload(),
    }
    name = run_name(PLACE, recipe.method, backbone.name, around.seed, request_hash(made_from))

    def begin() -> Work:
        batches = functools.partial(
            EpochBatchSampler,
            batch_size=training.batch_size,
            seed=around.seed,
            rank=rank(),
            world_size=world_size(),
        )
        per_epoch = len(batches(len(captions.pictures), batches_done=lambda: 0))
        steps_per_epoch = -(-per_epoch // around.trainer.accumulate_grad_batches)
        steps = training.num_steps(steps_per_epoch)
        module = recipe.make(steps)
        metadata = {
            "run": name,
            "method": recipe.method,
            "backbone": backbone.name,
            "backbone_tag": backbone.tag,
            "steps": steps,
            **{key: made_from[key] for key in ("schema", "seed", "captions_sha256")},
            "weights_sha256": around.weights_sha256,
        }
        return Work(
            module=module,
            data=CaptionDataModule(
                CaptionDataset(
                    captions, backbone.image_spec, recipe.augmentation, around.seed, functools.partial(framed, backbone)
                ),
                captions,
                around.seed,
                batches,
                around.trainer.num_workers,
            ),
            epochs=-(-steps // steps_per_epoch),
            steps=steps,
            result=lambda: bundles.adapter_bytes(module.tensors(), metadata),
        )

    file = made_once(around.runs_dir / name, bundles.ADAPTER_FILE, made_from, begin, around.trainer, around.command)
    adapter = bundles.read_adapter(file)
    bundles.check_adapter(adapter, file, backbone.name, around.weights_sha256)
    return adapter


def framed(backbone: FrozenBackbone, caption: str) -> list[int]:
    """Token ids of a caption with start and end token, cut where the text tower ends."""
    info = backbone.tokenizer_info
    return [info.start, *backbone.tokenize(caption)[: info.context_length - 2], info.end]
