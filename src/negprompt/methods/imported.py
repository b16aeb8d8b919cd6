"""Prompts that other code has trained: what a configuration says of them. There is nothing here to train."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, NoReturn

from pydantic import Field

from negprompt.backbones.base import FrozenBackbone
from negprompt.errors import ConfigError
from negprompt.methods.base import MethodSettings
from negprompt.types import PromptBundle


class ImportedSettings(MethodSettings):
    """Layout and number of negatives of imported prompts; `name` is what results call the method."""

    num_negatives: Annotated[int, Field(ge=0)] = 0

    @property
    def provides(self) -> frozenset[str]:
        """Negative prompts, where the file had some."""
        return frozenset({"negative"} if self.num_negatives > 0 else ())

    def module(
        self, backbone: FrozenBackbone, class_names: Sequence[str], seed: int, positive: PromptBundle | None
    ) -> NoReturn:
        """There is none."""
        del backbone, class_names, seed, positive
        msg = "Imported prompts are not trained here: start stage 2 from them, method.positive_prompts=<their folder>."
        raise ConfigError(msg)
