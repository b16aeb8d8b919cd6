"""Zero-shot CLIP: the words of a template stand where learned contexts would (MCM and the logit scores)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import BeforeValidator, Field
from torch import Tensor

from negprompt.backbones.base import FrozenBackbone
from negprompt.errors import ConfigError, RunError
from negprompt.methods.base import Contexts, MethodSettings, PromptLearning
from negprompt.prompts.context import initial_context
from negprompt.prompts.template import PromptLayout
from negprompt.prompts.templates import load_templates
from negprompt.prompts.text_features import TEMPLATES
from negprompt.settings import LATER
from negprompt.types import PromptBundle


class ZeroShot(PromptLearning):
    """Holds the embeddings of the template's words, or whole templates; trains nothing."""

    context: Tensor

    def __init__(
        self,
        backbone: FrozenBackbone,
        class_names: Sequence[str],
        layout: PromptLayout,
        context: Tensor,
        templates: Sequence[str] | None = None,
    ) -> None:
        super().__init__(backbone, class_names, layout, optimizer=None)
        self.register_buffer("context", context)
        self._templates = templates

    def metadata(self) -> dict[str, Any]:
        """The templates, where they stand in place of context vectors."""
        return {} if self._templates is None else {TEMPLATES: list(self._templates)}

    def contexts(self) -> Contexts:
        """The token embeddings of the template's words."""
        return Contexts(self.context, None)

    def loss(self, image_features: Tensor, labels: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """There is none."""
        del image_features, labels
        msg = "zero_shot has no training loss: method.optimizer must stay null."
        raise RunError(msg)


def _loaded(given: object) -> object:
    return load_templates(given) if isinstance(given, str | list | tuple) else given


class ZeroShotSettings(MethodSettings):
    """Settings of the zero-shot row: `context_words` is the template in front of the class name.

    `prompt_templates`: whole sentences in its place, whose text features are averaged: a list, a text file, or the
    name of a collection (`prompts.templates`).
    """

    prompt_templates: Annotated[tuple[str, ...] | None, BeforeValidator(_loaded), Field(json_schema_extra=LATER)] = None

    def module(
        self, backbone: FrozenBackbone, class_names: Sequence[str], seed: int, positive: PromptBundle | None
    ) -> ZeroShot:
        """A module that holds the words of the template."""
        del positive
        if self.class_specific or self.optimizer is not None or self.context_init != "words":
            msg = (
                "method=zero_shot trains nothing: leave method.class_specific=false, method.optimizer=null and "
                "method.context_init=words, or use method=coop."
            )
            raise ConfigError(msg)
        context = initial_context(backbone, self.num_context_tokens, "words", self.context_words, seed)
        if self.prompt_templates is not None:
            return ZeroShot(backbone, class_names, self.layout(), context[:0], self.prompt_templates)
        return ZeroShot(backbone, class_names, self.layout(), context)
