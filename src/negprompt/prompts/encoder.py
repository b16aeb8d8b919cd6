"""Context vectors + class names -> unit-length text features, on a frozen backbone."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812 -- torch's own convention
from torch import Tensor, nn

from negprompt.backbones.base import FrozenBackbone
from negprompt.prompts.template import PromptLayout, insert_context, prompt_tokens

log = logging.getLogger(__name__)


class PromptEncoder(nn.Module):
    """Prompts of K class names in one layout, ready for any context vectors.

    The token embeddings around the context are looked up once; only the context changes between calls. The backbone
    is an argument of each call and not a part of this module, so that it is neither moved nor saved twice.

    Args:
        backbone: frozen CLIP that embeds and encodes.
        class_names: K names in label order.
        layout: number of context tokens, place of the class name, full stop.

    Raises:
        ConfigError: a prompt longer than the text tower takes.
    """

    token_embeddings: Tensor
    slots: Tensor
    end_positions: Tensor

    def __init__(self, backbone: FrozenBackbone, class_names: Sequence[str], layout: PromptLayout) -> None:
        super().__init__()
        self.class_names = tuple(class_names)
        info = backbone.tokenizer_info
        prompts = prompt_tokens(
            class_names,
            layout,
            backbone.tokenize,
            start=info.start,
            end=info.end,
            context_length=info.context_length,
        )
        _warn_about_unknown_words(backbone, class_names)
        with torch.no_grad():
            embeddings = backbone.embed_tokens(prompts.tokens.to(next(backbone.parameters()).device))
        self.register_buffer("token_embeddings", embeddings.float(), persistent=False)
        self.register_buffer("slots", prompts.slots, persistent=False)
        self.register_buffer("end_positions", prompts.end_positions, persistent=False)

    def forward(self, backbone: FrozenBackbone, context: Tensor) -> Tensor:
        """Encode positive prompts: context (n, d) or (K, n, d) -> unit text features (K, D), float32."""
        embeddings = insert_context(self.token_embeddings, self.slots, context)
        features = backbone.encode_prompts(embeddings, self.end_positions)
        return F.normalize(features.float(), dim=-1)

    def encode_negative(self, backbone: FrozenBackbone, context: Tensor) -> Tensor:
        """Encode P negative prompts a class: context (P, n, d) or (K, P, n, d) -> unit text features (K, P, D)."""
        per_negative = context.unbind(-3)
        embeddings = torch.stack([insert_context(self.token_embeddings, self.slots, one) for one in per_negative], 1)
        ends = self.end_positions.unsqueeze(1).expand(-1, len(per_negative))
        features = backbone.encode_prompts(embeddings.flatten(0, 1), ends.flatten())
        return F.normalize(features.float(), dim=-1).reshape(*embeddings.shape[:2], -1)


def _warn_about_unknown_words(backbone: FrozenBackbone, class_names: Sequence[str]) -> None:
    unknown = [name for name in class_names if backbone.unknown_tokens(backbone.tokenize(name))]
    if unknown:
        log.warning(
            "%s never saw a part of these class names in its own training; expect little from them: %s",
            backbone.name,
            ", ".join(unknown),
        )
