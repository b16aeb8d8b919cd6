"""Prompt bundles: context vectors and what they belong to, in one small safetensors file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from negprompt.backbones.base import FrozenBackbone
from negprompt.errors import PromptMismatchError
from negprompt.prompts.template import PromptLayout
from negprompt.types import PromptBundle

FILE_NAME = "prompts.safetensors"
ADAPTER_FILE = "adapter.safetensors"
_METADATA_KEY = "negprompt"


class Adapter(NamedTuple):
    """What a method learned beside context vectors: `tensors` by name, `metadata` JSON values that say on what."""

    tensors: dict[str, Tensor]
    metadata: dict[str, Any]


def class_names_sha256(class_names: Sequence[str]) -> str:
    """Hash of class names in label order."""
    return hashlib.sha256("\n".join(class_names).encode()).hexdigest()


def to_bytes(bundle: PromptBundle) -> bytes:
    """File content of a bundle; equal bundles give equal bytes.

    One metadata key with sorted JSON: safetensors writes several keys in random order.
    """
    tensors = {"positive": bundle.positive.detach().float().cpu().contiguous()}
    if bundle.negative is not None:
        tensors["negative"] = bundle.negative.detach().float().cpu().contiguous()
    return save(tensors, {_METADATA_KEY: json.dumps(dict(bundle.metadata), sort_keys=True)})


def adapter_bytes(
    adapter: Mapping[str, Tensor],
    metadata: Mapping[str, Any] | None = None,
    dtype: torch.dtype | None = torch.float32,
) -> bytes:
    """File content of what a method learned beside context vectors; equal tensors give equal bytes.

    Args:
        adapter: tensors by name.
        metadata: JSON values that say what it belongs to: backbone, weights_sha256.
        dtype: that tensors are kept in, None for their own.
    """
    tensors = {name: tensor.detach().to("cpu", dtype).contiguous() for name, tensor in sorted(adapter.items())}
    return save(tensors, None if metadata is None else {_METADATA_KEY: json.dumps(dict(metadata), sort_keys=True)})


def load(path: Path | str) -> PromptBundle:
    """Read a bundle from `prompts.safetensors` or from the run folder that holds it.

    Raises:
        PromptMismatchError: no such file, or not a prompt bundle.
    """
    file = Path(path)
    if file.is_dir():
        file = file / FILE_NAME
    if not file.is_file():
        msg = f"No prompts at {file}: give a finished run folder or its {FILE_NAME}."
        raise PromptMismatchError(msg)
    try:
        with safe_open(file, framework="pt") as handle:
            metadata = (handle.metadata() or {}).get(_METADATA_KEY)
            tensors = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118 -- not a dict
    except SafetensorError as error:
        msg = f"{file} cannot be read as safetensors ({error}): make the run again."
        raise PromptMismatchError(msg) from error
    if metadata is None or "positive" not in tensors:
        msg = f"{file} is no prompt bundle of this project: give a run's {FILE_NAME}."
        raise PromptMismatchError(msg)
    return PromptBundle(tensors["positive"], tensors.get("negative"), json.loads(metadata))


def load_adapter(path: Path | str) -> dict[str, Tensor]:
    """What a method learned beside the prompts of a run folder (or of a bundle's file): adapter.safetensors there.

    Returns:
        Tensors by name, none where the method has no such file.

    Raises:
        PromptMismatchError: the file is damaged.
    """
    place = Path(path)
    file = (place if place.is_dir() else place.parent) / ADAPTER_FILE
    return read_adapter(file).tensors if file.is_file() else {}


def read_adapter(file: Path) -> Adapter:
    """An adapter under any name, with what it belongs to.

    Raises:
        PromptMismatchError: the file is damaged.
    """
    try:
        with safe_open(file, framework="pt") as handle:
            metadata = (handle.metadata() or {}).get(_METADATA_KEY, "{}")
            tensors = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118 -- not a dict
        return Adapter(tensors, json.loads(metadata))
    except (SafetensorError, ValueError) as error:
        msg = f"{file} cannot be read as safetensors ({error}): make the run again."
        raise PromptMismatchError(msg) from error


def check_shapes(given: Mapping[str, Tensor], wanted: Mapping[str, Tensor], where: str, prefix: str = "") -> None:
    """Make sure that an adapter's tensors are those of the module that it is for.

    Args:
        given: tensors of the adapter.
        wanted: those of the module.
        where: end of the message: where they are looked for, and what to do.
        prefix: of their names in the adapter.

    Raises:
        PromptMismatchError: tensors are missing, unknown, or have other shapes.
    """
    for name in sorted({*wanted, *given}):
        found, expected = (tuple(one[name].shape) if name in one else None for one in (given, wanted))
        if found != expected:
            msg = f"{prefix}{name} is {found or 'missing'} in the adapter, and {expected or 'not there'} {where}"
            raise PromptMismatchError(msg)


def check_adapter(adapter: Adapter, file: Path, backbone: str, weights_sha256: str) -> None:
    """Make sure that an adapter meets the backbone it was learned on.

    Raises:
        PromptMismatchError: another backbone, other weights, or nothing that says which.
    """
    learned_on, weights = (adapter.metadata.get(key) for key in ("backbone", "weights_sha256"))
    if learned_on is None or weights is None:
        msg = f"{file} does not say which backbone it belongs to: give the {ADAPTER_FILE} of a finished run."
        raise PromptMismatchError(msg)
    if weights != weights_sha256:  # the same weights may have two names
        other = f"set backbone={learned_on}" if learned_on != backbone else "use those weights"
        msg = (
            f"{file} was learned on {learned_on} (weights {weights[:12]}...), this run uses {backbone} (weights "
            f"{weights_sha256[:12]}...): {other}, or train one on {backbone}."
        )
        raise PromptMismatchError(msg)


def check(bundle: PromptBundle, backbone: FrozenBackbone) -> None:
    """Make sure that prompts meet the backbone they were learned on.

    Raises:
        PromptMismatchError: another backbone, other weights or another token width.
    """
    check_weights(bundle, backbone.name, backbone.weights_sha256())
    width = backbone.embed_tokens(torch.zeros(1, dtype=torch.long, device=next(backbone.parameters()).device)).shape[-1]
    if bundle.positive.shape[-1] != width:
        msg = f"These prompts are {bundle.positive.shape[-1]} wide, {backbone.name} needs {width}."
        raise PromptMismatchError(msg)


def check_weights(bundle: PromptBundle, backbone: str, weights_sha256: str) -> None:
    """The part of `check` that needs no loaded backbone.

    Raises:
        PromptMismatchError: another backbone, or other weights.
    """
    learned_on = bundle.metadata["backbone"]
    if learned_on != backbone:
        msg = (
            f"These prompts were learned on {learned_on}, this run uses {backbone}: "
            f"set backbone={learned_on} or train stage 1 again (leave method.positive_prompts out)."
        )
        raise PromptMismatchError(msg)
    if bundle.metadata["weights_sha256"] != weights_sha256:
        msg = (
            f"These prompts were learned on other weights of {learned_on} (sha256 "
            f"{bundle.metadata['weights_sha256'][:12]}..., here {weights_sha256[:12]}...): "
            "use those weights or train stage 1 again."
        )
        raise PromptMismatchError(msg)


def check_names(bundle: PromptBundle, class_names: Sequence[str]) -> None:
    """Make sure that class-specific prompts meet the names they were learned on.

    Raises:
        PromptMismatchError: they meet others.
    """
    if is_class_specific(bundle) and bundle.metadata["train_class_names"] != list(class_names):
        msg = (
            f"Class-specific prompts of {len(bundle.positive)} classes cannot name the {len(class_names)} here: "
            "use method.class_specific=false, or the class names they were learned on."
        )
        raise PromptMismatchError(msg)


def layout(bundle: PromptBundle) -> PromptLayout:
    """How the prompts of a bundle are put together."""
    stored = bundle.metadata
    return PromptLayout(bundle.positive.shape[-2], stored["class_token_position"], stored["full_stop"])


def is_class_specific(bundle: PromptBundle) -> bool:
    """Whether every class has context vectors of its own (then the class names cannot be exchanged)."""
    return bundle.positive.dim() == 3
