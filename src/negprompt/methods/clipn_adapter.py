"""Where CLIPN's text tower comes from: a file that somebody has, or training that all runs share."""

from __future__ import annotations

from pathlib import Path

from negprompt.backbones.base import FrozenBackbone
from negprompt.data.base import Augmentation
from negprompt.methods.base import Surroundings
from negprompt.methods.caption_adapter import Recipe
from negprompt.methods.clipn_tower import NoTextTraining
from negprompt.prompts import bundle as bundles
from negprompt.prompts.bundle import Adapter
from negprompt.prompts.clipn_checkpoint import load_checkpoint
from negprompt.prompts.no_text import NoText, dense, no_text_of
from negprompt.training.schedule import AdamWSettings

SCHEMA = 1
"""Number of the training; raised when equal settings would give another tower."""

_CHECKPOINTS = (".pt", ".pth")


def load_tower(file: Path, backbone: FrozenBackbone, weights_sha256: str) -> Adapter:
    """A finished tower, in single precision.

    Raises:
        PromptMismatchError: it is damaged, or belongs to another backbone.
    """
    if file.suffix in _CHECKPOINTS:
        adapter = Adapter(load_checkpoint(file, backbone), {"imported_from": file.name})
    else:
        adapter = bundles.read_adapter(file)
        bundles.check_adapter(adapter, file, backbone.name, weights_sha256)
    no_text_of(backbone, adapter.tensors)  # refuses what does not fit
    return adapter._replace(tensors=dense(adapter.tensors))


def tower_recipe(training: AdamWSettings, augmentation: Augmentation, num_prompts: int, around: Surroundings) -> Recipe:
    """How a tower is trained, starting from a copy of the backbone's."""
    backbone = around.backbone

    def make(steps: int) -> NoTextTraining:
        return NoTextTraining(backbone, NoText(backbone, num_prompts), training, steps, around.seed)

    return Recipe("clipn", SCHEMA, {"num_prompts": num_prompts}, training, augmentation, make)
