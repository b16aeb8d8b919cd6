"""What is measured: text towers with random weights, class names, and one forward and backward pass of the prompts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import open_clip
import torch
from common import autocast
from torch import Tensor

from negprompt.backbones.chunks import TextChunk
from negprompt.backbones.openclip import OpenClipBackbone
from negprompt.backbones.text import TextPath, TextPlan, plan_prompts
from negprompt.prompts.encoder import PromptEncoder
from negprompt.prompts.template import PromptLayout, prompt_tokens
from negprompt.types import ImageSpec

MODEL = "ViT-B-16"
NAMES: tuple[str, ...] = tuple(open_clip.IMAGENET_CLASSNAMES)
_SPEC = ImageSpec(224, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


class Pass(NamedTuple):
    """Unit text features (K, P, D) and the gradient of the contexts (P, n, d)."""

    features: Tensor
    gradient: Tensor


class TextStep:
    """One forward and backward pass with respect to P shared contexts of n tokens.

    The loss is a fixed random linear function of the features: it costs nothing beside the towers.

    Args:
        clip: random-weight backbone.
        names: class names.
        num_tokens: n.
        num_contexts: P.
        precision: fp32 or bf16.
    """

    def __init__(
        self, clip: OpenClipBackbone, names: Sequence[str], num_tokens: int, num_contexts: int, precision: str
    ) -> None:
        self._clip = clip
        self._encoder = PromptEncoder(clip, names, PromptLayout(num_tokens))
        self._device = next(clip.parameters()).device
        self._precision = precision
        width = clip.text_tower().width
        self._context = random_context(num_contexts, num_tokens, width).to(self._device)
        self._weights = linear_loss(len(names), num_contexts, clip).to(self._device)

    def __call__(self) -> Pass:
        """Run it."""
        leaf = self._context.clone().requires_grad_()
        with autocast(self._device.type, self._precision):
            features = self._encoder.encode_negative(self._clip, leaf)
        (gradient,) = torch.autograd.grad((features * self._weights).sum(), leaf)
        return Pass(features.detach(), gradient)


def backbone(
    path: TextPath = "auto", chunk: TextChunk = "auto", layers: int | None = None, device: str = "cpu"
) -> OpenClipBackbone:
    """open_clip's ViT-B/16 with seeded random weights; `layers` of the text tower where it shall have fewer."""
    torch.manual_seed(0)
    config = (open_clip.get_model_config(MODEL) or {})["text_cfg"]
    model = open_clip.create_model(MODEL, pretrained=None, text_cfg={**config, "layers": layers or config["layers"]})
    return OpenClipBackbone(model, MODEL, f"{MODEL}, random weights", _SPEC, path, chunk).to(device)


def with_path(clip: OpenClipBackbone, path: TextPath) -> OpenClipBackbone:
    """The same weights on another text path."""
    return OpenClipBackbone(clip.model, clip.name, clip.tag, clip.image_spec, path, clip.text_chunk)


def random_context(num_contexts: int, num_tokens: int, width: int) -> Tensor:
    """Seeded contexts (P, n, d), as large as CoOp's at the start."""
    return 0.02 * torch.randn(num_contexts, num_tokens, width, generator=torch.Generator().manual_seed(1))


def linear_loss(num_names: int, num_contexts: int, clip: OpenClipBackbone) -> Tensor:
    """Seeded weights (K, P, D) of the features."""
    width = int(clip.model.text_projection.shape[1])  # type: ignore[union-attr, index]
    return torch.randn(num_names, num_contexts, width, generator=torch.Generator().manual_seed(2))


def spaced_by_length(names: Sequence[str], count: int, clip: OpenClipBackbone) -> tuple[str, ...]:
    """`count` names at even distances in the list sorted by length, shortest and longest among them."""
    by_length = sorted(names, key=lambda name: len(clip.tokenize(name)))
    places = torch.linspace(0, len(names) - 1, min(count, len(names))).round().long().tolist()
    return tuple(by_length[place] for place in places)


def mean_tokens(names: Sequence[str], clip: OpenClipBackbone) -> float:
    """Tokens of a name, on average."""
    return sum(len(clip.tokenize(name)) for name in names) / len(names)


def many_names(count: int) -> tuple[str, ...]:
    """The 1,000 ImageNet names over and over: the lengths are ImageNet's at every size."""
    return tuple(NAMES[index % len(NAMES)] for index in range(count))


def largest_chunk(clip: OpenClipBackbone, names: Sequence[str], num_tokens: int) -> int:
    """Tokens behind the context in the largest chunk of the shared path."""
    found = plan(clip, names, num_tokens, num_contexts=1)
    return max(sum(found.names.lengths[rows]) for rows in found.bounds) if found.names else 0


def plan(clip: OpenClipBackbone, names: Sequence[str], num_tokens: int, num_contexts: int) -> TextPlan:
    """How all names are encoded in this process alone, however many processes there are."""
    info = clip.tokenizer_info
    prompts = prompt_tokens(
        names,
        PromptLayout(num_tokens),
        clip.tokenize,
        start=info.start,
        end=info.end,
        context_length=info.context_length,
    )
    return plan_prompts(
        clip.text_tower(),
        prompts,
        class_specific=False,
        num_contexts=num_contexts,
        path=clip.text_path,
        chunk=clip.text_chunk,
    )
