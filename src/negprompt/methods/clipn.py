"""CLIPN (Wang et al., ICCV 2023): zero-shot CLIP with a second text tower that says "no" to what is not there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field
from torch import Tensor

from negprompt.backbones.base import FrozenBackbone
from negprompt.data.captions import Captions
from negprompt.methods.base import Surroundings
from negprompt.methods.caption_adapter import train_adapter
from negprompt.methods.captioned import CaptionedSettings
from negprompt.methods.clipn_adapter import load_tower, tower_recipe
from negprompt.prompts.bundle import Adapter
from negprompt.prompts.no_text import NUM_PROMPTS, yes_no_reader
from negprompt.prompts.reader import Reader
from negprompt.types import PromptBundle


class ClipnSettings(CaptionedSettings):
    """Settings of CLIPN: a template or several, and where the "no" text tower comes from.

    `adapter` may be the released `epoch_10.pt` as well. `num_prompts`: learnable prompts that are added to every place.
    """

    num_prompts: Annotated[int, Field(ge=1)] = NUM_PROMPTS

    what: ClassVar[str] = "text tower"
    other_files: ClassVar[str] = "a released checkpoint (epoch_10.pt), "
    of_training: ClassVar[tuple[str, ...]] = ("num_prompts", *CaptionedSettings.of_training)

    @property
    def provides(self) -> frozenset[str]:
        """Prompts of the "no" tower."""
        return frozenset({"no_text"})

    def train_adapter(self, captions: Captions, around: Surroundings) -> Adapter:
        """The "no" text tower of these captions."""
        return train_adapter(captions, tower_recipe(self.training, self.augmentation, self.num_prompts, around), around)

    def read_adapter(self, file: Path, around: Surroundings) -> Adapter:
        """A finished "no" text tower."""
        return load_tower(file, around.backbone, around.weights_sha256)

    def reader(
        self,
        backbone: FrozenBackbone,
        bundle: PromptBundle,
        adapter: Mapping[str, Tensor],
        class_names: Sequence[str],
    ) -> Reader:
        """Compares pictures with what both towers make of the same sentences.

        Raises:
            PromptMismatchError: the run has no "no" tower, or that of another backbone.
        """
        return yes_no_reader(backbone, bundle, adapter, class_names, self.context_words)
