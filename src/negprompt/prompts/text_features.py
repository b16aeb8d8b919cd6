"""A prompt bundle + class names -> unit text features, whatever kind of prompts the bundle holds."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812 -- torch's own convention
from torch import Tensor

from negprompt.backbones.base import FrozenBackbone
from negprompt.prompts import bundle as bundles
from negprompt.prompts.encoder import PromptEncoder
from negprompt.prompts.template import PromptLayout
from negprompt.types import PromptBundle, TextFeatures

TEMPLATES = "prompt_templates"
"""Metadata of a bundle without context vectors: whole sentences with a slot for the name."""


@torch.no_grad()
def text_features(backbone: FrozenBackbone, bundle: PromptBundle, class_names: Sequence[str]) -> TextFeatures:
    """Encode the prompts of a bundle for K class names, on the backbone's device.

    Raises:
        PromptMismatchError: class-specific prompts and other class names.
        ConfigError: a prompt longer than the text tower takes.
    """
    bundles.check_names(bundle, class_names)
    if templates := bundle.metadata.get(TEMPLATES):
        return TextFeatures(ensemble(backbone, templates, class_names))
    device = next(backbone.parameters()).device
    encoder = PromptEncoder(backbone, class_names, bundles.layout(bundle))
    negative = bundle.negative
    return TextFeatures(
        encoder(backbone, bundle.positive.to(device)),
        None if negative is None else encoder.encode_negative(backbone, negative.to(device)),
    )


@torch.no_grad()
def ensemble(backbone: FrozenBackbone, templates: Sequence[str], class_names: Sequence[str]) -> Tensor:
    """Unit mean (K, D) of the unit text features of every template (Radford et al., 2021, section 3.1.4).

    Args:
        backbone: frozen CLIP.
        templates: sentences with one `{}` for the name.
        class_names: K names.
    """
    device = next(backbone.parameters()).device
    no_context = backbone.embed_tokens(torch.zeros(0, dtype=torch.long, device=device)).float()
    total: Tensor | float = 0.0
    for template in templates:  # one at a time: 128 sentences about 1,000 names would need gigabytes
        sentences = [template.replace("{}", name) for name in class_names]
        encoder = PromptEncoder(backbone, sentences, PromptLayout(0, "end", full_stop=False), names=class_names)
        total = total + encoder(backbone, no_context)
    return F.normalize(torch.as_tensor(total), dim=-1)
