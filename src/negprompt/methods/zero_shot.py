"""Zero-shot CLIP: the words of a template stand where learned contexts would (MCM and the logit scores)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from negprompt.backbones.base import FrozenBackbone
from negprompt.errors import ConfigError, RunError
from negprompt.methods.base import Contexts, MethodSettings, PromptLearning
from negprompt.prompts.context import initial_context
from negprompt.prompts.template import PromptLayout
from negprompt.types import PromptBundle


class ZeroShot(PromptLearning):
    """Holds the embeddings of the template's words; trains nothing."""

    context: Tensor

    def __init__(
        self, backbone: FrozenBackbone, class_names: Sequence[str], layout: PromptLayout, context: Tensor
    ) -> None:
        super().__init__(backbone, class_names, layout, optimizer=None)
        self.register_buffer("context", context)

    def contexts(self) -> Contexts:
        """The token embeddings of the template's words."""
        return Contexts(self.context, None)

    def loss(self, image_features: Tensor, labels: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """There is none."""
        del image_features, labels
        msg = "zero_shot has no training loss: method.optimizer must stay null."
        raise RunError(msg)


class ZeroShotSettings(MethodSettings):
    """Settings of the zero-shot row: `context_words` is the template in front of the class name."""

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
        return ZeroShot(backbone, class_names, self.layout(), context)
