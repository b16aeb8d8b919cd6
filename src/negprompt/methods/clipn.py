"""CLIPN (Wang et al., ICCV 2023): zero-shot CLIP with a second text tower that says "no" to what is not there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field
from torch import Tensor

from negprompt.backbones.base import FrozenBackbone
from negprompt.data.base import Augmentation
from negprompt.data.captions import Captions, load_captions
from negprompt.data.looked import Corrupt
from negprompt.data.shards.specs import shards_of
from negprompt.errors import ConfigError
from negprompt.methods.base import Surroundings
from negprompt.methods.clipn_adapter import adapter_file, file_sha256, load_adapter, train_adapter
from negprompt.methods.zero_shot import ZeroShotSettings
from negprompt.prompts.bundle import Adapter
from negprompt.prompts.context import initial_context
from negprompt.prompts.no_text import NUM_PROMPTS, no_text_of
from negprompt.prompts.reader import Reader
from negprompt.prompts.text_features import text_features
from negprompt.training.schedule import AdamWSettings
from negprompt.types import PromptBundle, TextFeatures


class ClipnSettings(ZeroShotSettings):
    """Settings of CLIPN: a template or several, and where the "no" text tower comes from.

    `adapter`: a finished tower, as a run folder, an adapter.safetensors, the released `epoch_10.pt` or, where one ships
    with the package, embedded/<backbone>; null trains one on `captions`: shards of pictures with captions (folder,
    glob, brace pattern or URL), once for all benchmarks. `num_prompts`: learnable prompts that are added to every
    place. `augmentation`: of the pictures with captions.
    """

    captions: Annotated[str | None, Field(exclude=True)] = None
    adapter: Annotated[str | None, Field(exclude=True)] = None
    num_prompts: Annotated[int, Field(ge=1)] = NUM_PROMPTS
    training: AdamWSettings = AdamWSettings()
    augmentation: Augmentation = Augmentation(scale_min=0.9, flip=0.0)
    corrupt: Corrupt = "stop"
    cache_dir: Annotated[str | None, Field(exclude=True)] = None
    shard_cache_gb: Annotated[float, Field(exclude=True, gt=0)] = 50.0

    @property
    def provides(self) -> frozenset[str]:
        """Prompts of the "no" tower."""
        return frozenset({"no_text"})

    def check(self) -> None:
        """Refuse captions or an adapter that are not there, and both at once."""
        if self.adapter is not None:
            if self.captions is not None:
                msg = (
                    f"method.captions={self.captions} and method.adapter={self.adapter}: a finished tower is not "
                    "trained. Set method.adapter=null to train one, or leave method.captions out."
                )
                raise ConfigError(msg)
            adapter_file(self.adapter)
        else:
            shards_of(self._spec(), "method.captions")

    def hash_payload(self) -> dict[str, Any]:
        """Without how a tower is trained where a finished one is named."""
        payload = super().hash_payload()
        if self.adapter is not None:
            for key in ("num_prompts", "training", "augmentation", "corrupt"):
                del payload[key]
        return payload

    def outside_sha256(self) -> str:
        """Of the named adapter, or of all pairs of pictures and captions."""
        return self._pairs().sha256() if self.adapter is None else file_sha256(adapter_file(self.adapter))

    def outside_adapter(self, around: Surroundings) -> Adapter:
        """The "no" text tower."""
        if self.adapter is not None:
            return load_adapter(self.adapter, around.backbone, around.weights_sha256)
        return train_adapter(self._pairs(), self.training, self.augmentation, self.num_prompts, around)

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
        says_no = no_text_of(backbone, adapter).beside(backbone)
        words = bundle.positive
        if len(words):  # a tower embeds words with its own token table
            words = initial_context(says_no, len(words), "words", self.context_words, seed=0)
        yes = text_features(backbone, bundle, class_names).positive
        no = text_features(says_no, bundle._replace(positive=words), class_names).positive
        return Reader(TextFeatures(yes, no.unsqueeze(1)), backbone.logit_scale)

    def _spec(self) -> str:
        if self.captions is None:
            msg = (
                "method=clipn needs pictures with captions to train its text tower on (method.captions=<folder, "
                "pattern or URL of webdataset shards>), or a finished one (method.adapter=<run folder or file>)."
            )
            raise ConfigError(msg)
        return self.captions

    def _pairs(self) -> Captions:
        cache = None if self.cache_dir is None else Path(self.cache_dir)
        return load_captions(self._spec(), cache, self.shard_cache_gb, self.corrupt)
