"""Local image features: one feature per region of the picture, in the space of the prompts, beside the global one.

LoCoOp and GL-MCM compare regions with prompts. Where a tower mixes the regions only to pool them, they are projected
unmixed. The inside of open_clip's image towers is known here and to no other file; open_clip itself is not needed.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from negprompt.errors import BackboneError

_Tower = Any  # the towers, and what is inside them, share no base but nn.Module, which knows none of the parts


def image_and_local_features(visual: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    """Global and local features of pictures from one pass through an image tower.

    A ViT follows LoCoOp (Miyai et al., NeurIPS 2023, section on local features), a ResNet GL-MCM (Miyai et al., 2023).
    An average-pooled timm tower gives what it averages: the mean of its local features is the global one.

    Args:
        visual: image tower of an open_clip model in evaluation mode.
        images: normalised pixels (B, 3, H, W).

    Returns:
        The global features (B, D) that `visual(images)` gives, and local features (B, R, D) of the R = rows * columns
        regions, row by row. Neither is of unit length.

    Raises:
        BackboneError: a tower whose local features are not known.
    """
    if all(hasattr(visual, part) for part in ("transformer", "ln_post", "proj", "_embeds", "_pool")):
        return _of_transformer(visual, images)
    if all(hasattr(visual, part) for part in ("stem", "layer4", "attnpool")):
        return _of_resnet(visual, images)
    if all(hasattr(visual, part) for part in ("trunk", "head")):
        return _of_timm(visual, images)
    raise _unknown(type(visual).__name__, "another architecture")


def _of_transformer(visual: _Tower, images: Tensor) -> tuple[Tensor, Tensor]:
    """All blocks but the last as always, the last one twice: with attention, and on its value path."""
    _check_transformer(visual)
    *blocks, last_block = visual.transformer.resblocks
    hidden = visual._embeds(images)
    for block in blocks:
        hidden = block(hidden)
    pooled, _ = visual._pool(last_block(hidden))
    regions = visual.ln_post(_value_path(last_block, hidden[:, 1:]))
    if visual.proj is None:
        return pooled, regions
    return pooled @ visual.proj, regions @ visual.proj


def _check_transformer(visual: _Tower) -> None:
    """Refuse a ViT whose regions the value path does not lead into the joint space."""
    if getattr(visual, "attn_pool", None) is not None:
        raise _unknown(type(visual).__name__, "attentional pooling")
    if visual.pool_type not in ("tok", "avg"):
        raise _unknown(type(visual).__name__, f"pooling {visual.pool_type!r}")
    if not isinstance(visual.patch_dropout, nn.Identity):
        raise _unknown(type(visual).__name__, "patch dropout")
    if not isinstance(visual.transformer.resblocks[-1].attn, nn.MultiheadAttention):
        raise _unknown(type(visual).__name__, "custom attention blocks")


def _value_path(block: _Tower, hidden: Tensor) -> Tensor:
    """A residual block in which every token attends to itself alone: (B, R, d) -> (B, R, d).

    Without mixing, attention is its value projection followed by its output projection (LoCoOp, as released; MaskCLIP,
    Zhou et al., ECCV 2022). Both residual connections and the MLP stay.
    """
    attention = block.attn
    weight, bias = attention.in_proj_weight.chunk(3)[2], attention.in_proj_bias.chunk(3)[2]
    values = attention.out_proj(F.linear(block.ln_1(hidden), weight, bias))
    hidden = hidden + block.ls_1(values)
    out: Tensor = hidden + block.ls_2(block.mlp(block.ln_2(hidden)))
    return out


def _of_resnet(visual: _Tower, images: Tensor) -> tuple[Tensor, Tensor]:
    """Value and output projection of the attention pooling at each place, without positional embedding."""
    hidden = visual.stem(images)
    for layer in (visual.layer1, visual.layer2, visual.layer3, visual.layer4):
        hidden = layer(hidden)
    pool = visual.attnpool
    return pool(hidden), pool.c_proj(pool.v_proj(_regions(hidden)))


def _of_timm(visual: _Tower, images: Tensor) -> tuple[Tensor, Tensor]:
    """The linear maps after average pooling, at each place instead of on the average."""
    trunk, name = visual.trunk, f"{type(visual).__name__} with {type(visual.trunk).__name__}"
    classifier = trunk.get_classifier()
    if not all(isinstance(layer, nn.Linear | nn.Dropout | nn.Identity) for layer in (classifier, *visual.head)):
        raise _unknown(name, "a projection that is not linear")
    hidden = trunk.forward_features(images)
    if hidden.dim() != 4 or hidden.shape[1] != trunk.num_features:
        raise _unknown(name, "no feature map (B, C, H, W)")
    if not _only_averages(trunk, hidden):
        raise _unknown(name, "more than an average between feature map and projection")
    return visual.head(trunk.forward_head(hidden)), visual.head(classifier(_regions(hidden)))


def _only_averages(trunk: _Tower, hidden: Tensor) -> bool:
    """Whether a timm trunk does nothing but average, such as a norm too, between its feature map and its classifier.

    Asked of two places of small whole numbers: any precision holds their mean exactly.
    """
    average = torch.arange(hidden.shape[1], device=hidden.device) % 7 + 1
    places = torch.stack((average - 1, average + 1), dim=-1).to(hidden.dtype)
    return torch.equal(trunk.forward_head(places[None, :, None], pre_logits=True), average.to(hidden.dtype)[None])


def _regions(feature_map: Tensor) -> Tensor:
    """Feature map (B, C, H, W) -> its places row by row (B, H * W, C)."""
    return feature_map.flatten(2).transpose(1, 2)


def _unknown(tower: str, reason: str) -> BackboneError:
    return BackboneError(
        f"The image tower {tower} ({reason}) has no known local features: they are known for ViT, ResNet and "
        "average-pooled timm towers. Choose a backbone such as ViT-B-16 or RN50."
    )
