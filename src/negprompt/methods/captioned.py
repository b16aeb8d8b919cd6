"""Methods that are zero-shot CLIP with something beside it, which is trained on pictures with captions."""

from __future__ import annotations

import abc
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import Field

from negprompt.data.base import Augmentation
from negprompt.data.captions import Captions, load_captions
from negprompt.data.looked import Corrupt
from negprompt.data.shards.specs import shards_of
from negprompt.errors import ConfigError
from negprompt.methods.base import Surroundings
from negprompt.methods.caption_adapter import adapter_file, file_sha256
from negprompt.methods.zero_shot import ZeroShotSettings
from negprompt.prompts.bundle import Adapter
from negprompt.training.schedule import AdamWSettings


class CaptionedSettings(ZeroShotSettings, abc.ABC):
    """Settings of what is trained on captions: a template or several, and where the trained part comes from.

    `adapter`: a finished one, as a run folder, a file or, where one ships with the package, embedded/<backbone>; null
    trains one on `captions`: shards of pictures with captions (folder, glob, brace pattern or URL), once for all
    benchmarks. `augmentation`: of these pictures.
    """

    captions: Annotated[str | None, Field(exclude=True)] = None
    adapter: Annotated[str | None, Field(exclude=True)] = None
    training: AdamWSettings = AdamWSettings()
    augmentation: Augmentation = Augmentation(scale_min=0.9, flip=0.0)
    corrupt: Corrupt = "stop"
    cache_dir: Annotated[str | None, Field(exclude=True)] = None
    shard_cache_gb: Annotated[float, Field(exclude=True, gt=0)] = 50.0

    what: ClassVar[str]
    """What is trained, for messages."""
    other_files: ClassVar[str] = ""
    """Which foreign files `adapter` may be as well, for messages."""
    of_training: ClassVar[tuple[str, ...]] = ("training", "augmentation", "corrupt")
    """Settings that say nothing where a finished adapter is named."""

    @abc.abstractmethod
    def train_adapter(self, captions: Captions, around: Surroundings) -> Adapter:
        """What these pairs and settings give, trained where no run has done it yet.

        Raises:
            NegPromptError: the folder cannot be written, or a picture cannot be decoded.
        """

    @abc.abstractmethod
    def read_adapter(self, file: Path, around: Surroundings) -> Adapter:
        """A named adapter, in single precision.

        Raises:
            PromptMismatchError: it is damaged, or belongs to another backbone.
        """

    def check(self) -> None:
        """Refuse captions or an adapter that are not there, and both at once."""
        if self.adapter is not None:
            if self.captions is not None:
                msg = (
                    f"method.captions={self.captions} and method.adapter={self.adapter}: a finished {self.what} is not "
                    "trained. Set method.adapter=null to train one, or leave method.captions out."
                )
                raise ConfigError(msg)
            self._adapter_file(self.adapter)
        else:
            shards_of(self._spec(), "method.captions")

    def hash_payload(self) -> dict[str, Any]:
        """Without how an adapter is trained where a finished one is named."""
        payload = super().hash_payload()
        if self.adapter is not None:
            for key in self.of_training:
                del payload[key]
        return payload

    def outside_sha256(self) -> str:
        """Of the named adapter, or of all pairs of pictures and captions."""
        return self._pairs().sha256() if self.adapter is None else file_sha256(self._adapter_file(self.adapter))

    def outside_adapter(self, around: Surroundings) -> Adapter:
        """The named adapter, or the one that is trained on the captions."""
        if self.adapter is not None:
            return self.read_adapter(self._adapter_file(self.adapter), around)
        return self.train_adapter(self._pairs(), around)

    def _adapter_file(self, given: str) -> Path:
        return adapter_file(given, self.name, self.other_files)

    def _spec(self) -> str:
        if self.captions is None:
            msg = (
                f"method={self.name} needs pictures with captions to train its {self.what} on (method.captions="
                "<folder, pattern or URL of webdataset shards>), or a finished one (method.adapter=<run folder or "
                "file>)."
            )
            raise ConfigError(msg)
        return self.captions

    def _pairs(self) -> Captions:
        cache = None if self.cache_dir is None else Path(self.cache_dir)
        return load_captions(self._spec(), cache, self.shard_cache_gb, self.corrupt)
