"""The checkpoint that CLIPN's authors released (`epoch_10.pt`), as an adapter."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from negprompt.backbones.base import FrozenBackbone
from negprompt.errors import PromptMismatchError
from negprompt.prompts.no_text import PREFIX

_MARK = "_no"
_PARTS = ("token_embedding", "positional_embedding", "transformer", "ln_final", "text_projection")
_DATA_PARALLEL = "module."
_TOLERANCE = 1e-3
"""Largest difference to the backbone's weights: they were frozen, but may have been saved in half precision."""


def load_checkpoint(file: Path, backbone: FrozenBackbone) -> dict[str, Tensor]:
    """Tensors of the "no" tower in a released checkpoint.

    Only tensors and plain values are read: a pickle that would run code is refused.

    Raises:
        PromptMismatchError: the file is damaged, no such checkpoint, or belongs to another CLIP.
    """
    try:
        content: Any = torch.load(file, map_location="cpu", weights_only=True, mmap=_is_zip(file))
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, LookupError, OSError) as error:
        reason = str(error).partition("\n")[0]
        msg = (
            f"method.adapter={file} cannot be read as a checkpoint of tensors ({reason}): get it again from its "
            "authors; files that would run code are not opened."
        )
        raise PromptMismatchError(msg) from error
    state = content.get("state_dict") if isinstance(content, dict) else None
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        msg = (
            f"method.adapter={file} has no state_dict of tensors: give CLIPN's epoch_10.pt, or an adapter.safetensors."
        )
        raise PromptMismatchError(msg)
    return adapter_of(state, clip_weights(backbone), backbone.name)


def adapter_of(state: Mapping[str, Tensor], clip: Mapping[str, Tensor], backbone: str) -> dict[str, Tensor]:
    """Names of the released layout -> names of an adapter.

    Args:
        state: open_clip's CLIP, and beside it `transformer_no.*`, `token_embedding_no.weight`, `prompt_no` ...; names
            may begin with `module.`.
        clip: weights of this run's CLIP under open_clip's names.
        backbone: its name, for messages.

    Raises:
        PromptMismatchError: there is no "no" tower, or the CLIP beside it is another one.
    """
    named = {name.removeprefix(_DATA_PARALLEL): tensor for name, tensor in state.items()}
    wanted = {"prompt_no": f"{PREFIX}prompts"}
    for name in clip:
        part, dot, rest = name.partition(".")
        if part in _PARTS:
            wanted[f"{part}{_MARK}{dot}{rest}"] = f"{PREFIX}{name}"
    if missing := [name for name in wanted if name not in named]:
        msg = (
            f'The checkpoint has no whole "no" text tower ({len(missing)} of {len(wanted)} tensors are missing, for '
            f"example {missing[0]}): give the epoch_10.pt of CLIPN's learnable version."
        )
        raise PromptMismatchError(msg)
    _check_clip(named, clip, backbone)
    return {ours: named[theirs].float() for theirs, ours in wanted.items()}


def clip_weights(backbone: FrozenBackbone) -> dict[str, Tensor]:
    """Weights of a backbone under the names of open_clip's CLIP."""
    prefix = "model."
    state = {name.removeprefix(prefix): t for name, t in backbone.state_dict().items() if name.startswith(prefix)}
    return {name.removeprefix("text."): tensor.cpu() for name, tensor in state.items()}


def _check_clip(named: Mapping[str, Tensor], clip: Mapping[str, Tensor], backbone: str) -> None:
    """Every weight that both have is the same; the scale is left out, which the released code clamps."""
    for name, ours in clip.items():
        if name == "logit_scale" or not ours.is_floating_point():
            continue
        if difference := _difference(name, named.get(name), ours):
            msg = (
                f"The checkpoint was trained beside another CLIP than backbone={backbone}: it {difference}. "
                f"{_expected(named)}"
            )
            raise PromptMismatchError(msg)


def _difference(name: str, theirs: Tensor | None, ours: Tensor) -> str:
    """What is other in one weight, empty where it is the same."""
    if theirs is None:
        return f"has no {name}"
    if theirs.shape != ours.shape:
        return f"has {name} {tuple(theirs.shape)} where this one's is {tuple(ours.shape)}"
    same = torch.allclose(theirs.float(), ours.float(), rtol=0, atol=_TOLERANCE)
    return "" if same else f"has other values in {name}"


def _expected(named: Mapping[str, Tensor]) -> str:
    """Which of the released checkpoints it may be."""
    patches = named.get("visual.conv1.weight")
    size = patches.shape[-1] if patches is not None and patches.dim() == 4 else 0
    released = {16: "vit_b16_laion2b", 32: "vit_b32_laion2b"}
    if size in released:
        return f"Its image tower has {size}-pixel patches: try backbone={released[size]}."
    return "CLIPN's authors released some for backbone=vit_b16_laion2b and backbone=vit_b32_laion2b."


def _is_zip(file: Path) -> bool:
    """Whether torch can map the file instead of reading it: optimizer states are twice as large as the weights."""
    with file.open("rb") as opened:
        return opened.read(4) == b"PK\x03\x04"
