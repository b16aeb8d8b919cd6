"""ZOC (Esmaeilpour et al., AAAI 2022): zero-shot CLIP, and a decoder that thinks of further names for each picture."""

from __future__ import annotations

import functools
import logging
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
from negprompt.methods.zoc_decoder import decoder_recipe, load_decoder
from negprompt.prompts.bundle import Adapter
from negprompt.prompts.candidates import Naming, NamingReader, naming_reader
from negprompt.prompts.caption_decoder import DecoderSettings
from negprompt.types import PromptBundle

log = logging.getLogger(__name__)

_MANY_CLASSES = 300


class ZocSettings(CaptionedSettings):
    """Settings of ZOC: a template or several, where the decoder comes from, and how many words it proposes.

    `decoder`: size of one that is trained. `top_k`: words that each of the first `steps` steps of decoding proposes.
    """

    decoder: DecoderSettings = DecoderSettings()
    top_k: Annotated[int, Field(ge=1)] = 35
    steps: Annotated[int, Field(ge=1)] = 10

    what: ClassVar[str] = "decoder"
    of_training: ClassVar[tuple[str, ...]] = ("decoder", *CaptionedSettings.of_training)

    @property
    def provides(self) -> frozenset[str]:
        """Names beyond those of the classes."""
        return frozenset({"candidates"})

    def train_adapter(self, captions: Captions, around: Surroundings) -> Adapter:
        """The decoder of these captions."""
        recipe = decoder_recipe(self.training, self.augmentation, self.decoder, captions, around)
        return train_adapter(captions, recipe, around)

    def read_adapter(self, file: Path, around: Surroundings) -> Adapter:
        """A finished decoder."""
        return load_decoder(file, around.backbone, around.weights_sha256)

    def reader(
        self,
        backbone: FrozenBackbone,
        bundle: PromptBundle,
        adapter: Mapping[str, Tensor],
        class_names: Sequence[str],
    ) -> NamingReader:
        """Compares pictures with class names and with words that the decoder proposes for them.

        Raises:
            PromptMismatchError: the run has no decoder, or that of another backbone.
            ConfigError: more steps than the decoder has places.
        """
        if len(class_names) > _MANY_CLASSES:
            _warn_of_many(len(class_names))
        naming = Naming(self.top_k, self.steps, (self.context_words, *(self.prompt_templates or ())))
        return naming_reader(backbone, bundle, adapter, class_names, naming)


@functools.cache
def _warn_of_many(classes: int) -> None:
    """Say it once."""
    log.warning(
        "method=zoc is meant for splits of up to %d classes and this benchmark has %d: beside so many names the few "
        "words that are proposed for a picture hardly count. Expect little from score=zoc.",
        _MANY_CLASSES,
        classes,
    )
