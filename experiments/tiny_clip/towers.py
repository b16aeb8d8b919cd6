"""The three CLIPs as open_clip configurations: one text tower, three image towers."""

from __future__ import annotations

from typing import Any

import open_clip
from locked_tower import MEAN, MODEL, STD
from open_clip.modified_resnet import ModifiedResNet
from torch import nn

EMBED_DIM = 256
TEXT = {"context_length": 77, "vocab_size": 49408, "width": 128, "heads": 4, "layers": 3}
VISION: dict[str, dict[str, Any]] = {
    "tiny_lit": {
        "image_size": 96,
        "timm_model_name": MODEL,
        "timm_model_pretrained": False,
        "timm_pool": "avg",
        "timm_proj": "linear",
        "timm_proj_bias": True,
    },
    "tiny_rn": {"image_size": 96, "layers": [1, 2, 2, 1], "width": 16, "head_width": 64},
    "tiny_vit": {"image_size": 96, "patch_size": 16, "layers": 6, "width": 128, "head_width": 32},
}


def config(name: str) -> dict[str, Any]:
    """The content of ``open_clip_config.json``; ``text_weights`` is relative to the file's folder."""
    mean, std = [round(MEAN, 6)] * 3, [round(STD, 6)] * 3
    return {
        "model_cfg": {"embed_dim": EMBED_DIM, "vision_cfg": VISION[name], "text_cfg": TEXT},
        "preprocess_cfg": {"mean": mean, "std": std, "interpolation": "bicubic", "resize_mode": "shortest"},
        "text_weights": "../tiny_text/text.safetensors",
    }


def build(name: str) -> open_clip.CLIP:
    """An open_clip CLIP of that configuration, with random weights."""
    model = open_clip.CLIP(**config(name)["model_cfg"])
    if isinstance(model.visual, ModifiedResNet):
        _wake_residual_branches(model.visual)
    return model


def _wake_residual_branches(resnet: ModifiedResNet) -> None:
    """Start the residual branches at 0.5, not at zero: so shallow a network gives all pictures nearly one vector."""
    for name, parameter in resnet.named_parameters():
        if name.startswith("layer") and name.endswith("bn3.weight"):
            nn.init.constant_(parameter, 0.5)
