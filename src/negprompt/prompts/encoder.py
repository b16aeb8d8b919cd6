"""Context vectors + class names -> unit-length text features, on a frozen backbone."""

from __future__ import annotations

import functools
import logging
from collections.abc import Sequence

from torch import Tensor

from negprompt.backbones.base import FrozenBackbone
from negprompt.backbones.text import TextPlan, encode_prompts, plan_prompts
from negprompt.prompts.sharding import Share, gather, my_share
from negprompt.prompts.template import PromptLayout, prompt_tokens
from negprompt.ranks import world_size

log = logging.getLogger(__name__)

_SHOWN = 10


class PromptEncoder:
    """Prompts of K class names in one layout, ready for any context vectors.

    Only token ids are kept; the backbone is an argument of each call, so that it is neither moved nor saved twice.
    Where several processes work together, each encodes its share of the names and all get all features.

    Args:
        backbone: frozen CLIP that embeds and encodes.
        class_names: K names in label order.
        layout: number of context tokens, place of the class name, full stop.
        names: what to name in a warning about unknown words, where `class_names` are whole sentences.

    Raises:
        ConfigError: a prompt longer than the text tower takes.
    """

    def __init__(
        self,
        backbone: FrozenBackbone,
        class_names: Sequence[str],
        layout: PromptLayout,
        *,
        names: Sequence[str] | None = None,
    ) -> None:
        self.class_names = tuple(class_names)
        info = backbone.tokenizer_info
        self._prompts = prompt_tokens(
            class_names,
            layout,
            backbone.tokenize,
            start=info.start,
            end=info.end,
            context_length=info.context_length,
        )
        self._plans: dict[tuple[int, int, int], tuple[Share, TextPlan]] = {}
        _warn_about_unknown_words(backbone, self.class_names if names is None else names)

    def __call__(self, backbone: FrozenBackbone, context: Tensor) -> Tensor:
        """Encode positive prompts: context (n, d) or (K, n, d) -> unit text features (K, D), float32."""
        return self.encode_negative(backbone, context.unsqueeze(-3)).squeeze(1)

    def encode_negative(self, backbone: FrozenBackbone, context: Tensor) -> Tensor:
        """Encode P prompts a class: context (P, n, d) or (K, P, n, d) -> unit text features (K, P, D), float32."""
        tower = backbone.text_tower()
        key = (context.dim(), context.shape[-3], world_size())
        if key not in self._plans:
            share = my_share(self._prompts.end_positions.tolist())
            plan = plan_prompts(
                tower,
                self._prompts.rows(share.rows),
                class_specific=context.dim() == 4,
                num_contexts=context.shape[-3],
                path=backbone.text_path,
                chunk=backbone.text_chunk,
            )
            self._plans[key] = share, plan
        share, plan = self._plans[key]
        if context.dim() == 4 and world_size() > 1:
            context = context[share.rows.to(context.device)]
        return gather(encode_prompts(tower, plan, context), share)


def _warn_about_unknown_words(backbone: FrozenBackbone, class_names: Sequence[str]) -> None:
    unknown = [name for name in class_names if backbone.unknown_tokens(backbone.tokenize(name))]
    if unknown:
        some = ", ".join(unknown[:_SHOWN])
        more = "" if len(unknown) <= _SHOWN else f" and {len(unknown) - _SHOWN} more"
        _warn_once(backbone.name, some + more)


@functools.cache
def _warn_once(backbone: str, names: str) -> None:
    log.warning(
        "%s never saw a part of these class names in its own training; expect little from them: %s", backbone, names
    )
