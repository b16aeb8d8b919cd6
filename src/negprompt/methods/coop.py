"""Stage 1, CoOp (Zhou et al., IJCV 2022): one context before every class name, trained by cross entropy."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from negprompt.backbones.base import FrozenBackbone
from negprompt.methods.base import Contexts, MethodSettings, PromptLearning
from negprompt.objectives.coop import positive_loss
from negprompt.prompts.context import initial_context
from negprompt.prompts.similarity import similarity
from negprompt.prompts.template import PromptLayout
from negprompt.training.schedule import OptimizerSettings
from negprompt.types import PromptBundle


class CoOp(PromptLearning):
    """Learns the positive context.

    Args:
        backbone: frozen CLIP.
        class_names: training classes in label order.
        layout: how prompts are put together.
        optimizer: training recipe.
        context: start value, (n, d) shared or (K, n, d) class-specific.
    """

    def __init__(
        self,
        backbone: FrozenBackbone,
        class_names: Sequence[str],
        layout: PromptLayout,
        optimizer: OptimizerSettings,
        context: Tensor,
    ) -> None:
        super().__init__(backbone, class_names, layout, optimizer)
        self.context = nn.Parameter(context)

    def contexts(self) -> Contexts:
        """The learned positive context."""
        return Contexts(self.context.detach(), None)

    def loss(self, image_features: Tensor, labels: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Cross entropy over the training classes at CLIP's own temperature (Eq. 2)."""
        cosines = similarity(image_features, self.encoder(self.backbone, self.context))
        accuracy = (cosines.positive.detach().argmax(dim=1) == labels).float().mean()
        return positive_loss(cosines, labels, self.backbone.logit_scale), {"accuracy": accuracy}


class CoOpSettings(MethodSettings):
    """Settings of stage 1."""

    optimizer: OptimizerSettings

    def module(
        self, backbone: FrozenBackbone, class_names: Sequence[str], seed: int, positive: PromptBundle | None
    ) -> CoOp:
        """A CoOp module with a fresh context."""
        del positive
        num_classes = len(class_names) if self.class_specific else None
        context = initial_context(
            backbone, self.num_context_tokens, self.context_init, self.context_words, seed, num_classes
        )
        return CoOp(backbone, class_names, self.layout(), self.optimizer, context)
