"""Files of other people -> tensors by name. Nothing that a file brings along is ever run."""

from __future__ import annotations

import hashlib
import io
import pickle
import re
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from torch import Tensor

from negprompt.errors import PromptMismatchError
from negprompt.prompts.importers.base import State

_PREFIXES = ("module.", "prompt_learner.")
_NESTED = "state_dict"
_TAKE_ANOTHER = "copy or download it again"


class _Left:
    """Stands for an object of a training that is of no use here; whatever is done to it does nothing."""

    def __init__(self, *_: object) -> None: ...

    def __setstate__(self, state: object) -> None: ...


def _plain_dict(*_: object) -> dict[str, Any]:
    return {}


# Dassl stores the warm-up's scheduler with the schedule that follows it, an object, and the optimiser that this holds.
_OF_A_TRAINING: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [
    (_plain_dict, "collections.defaultdict"),
    *(
        (_Left, name)
        for name in (
            "builtins.dict",
            "torch.optim.sgd.SGD",
            "torch.optim.adam.Adam",
            "torch.optim.adamw.AdamW",
            "torch.optim.rmsprop.RMSprop",
            "torch.optim.lr_scheduler.CosineAnnealingLR",
            "torch.optim.lr_scheduler.MultiStepLR",
            "torch.optim.lr_scheduler.StepLR",
            "numpy.core.multiarray.scalar",
            "numpy._core.multiarray.scalar",
            "numpy.dtype",
            "_codecs.encode",
        )
    ),
]


def read_state(path: Path) -> tuple[State, str]:
    """Tensors of a checkpoint, without the prefixes that wrappers put before their names, and the file's SHA-256.

    Args:
        path: a file of torch.save, with a state dict or with a dict that has one, or a .safetensors file.

    Raises:
        PromptMismatchError: there is no such file, it is damaged, it wants to run code, or it holds something else.
    """
    if not path.is_file():
        found = "is a folder" if path.is_dir() else "does not exist"
        msg = f"file={path} {found}: give a checkpoint, such as prompt_learner/model.pth.tar-50 of CoOp."
        raise PromptMismatchError(msg)
    try:
        content = path.read_bytes()
    except OSError as error:
        msg = f"Cannot read {path} ({error.strerror}): make it readable."
        raise PromptMismatchError(msg) from error
    loaded = _safetensors(path, content) if path.suffix == ".safetensors" else _pickle(path, content)
    return _tensors(path, loaded), hashlib.sha256(content).hexdigest()


def _safetensors(path: Path, content: bytes) -> object:
    try:
        return load_safetensors(content)
    except SafetensorError as error:
        msg = f"{path} cannot be read as safetensors ({error}): {_TAKE_ANOTHER}."
        raise PromptMismatchError(msg) from error


def _pickle(path: Path, content: bytes) -> object:
    """Numbers and names only; objects of a training are left out, and every other one is refused."""
    try:
        if zipfile.is_zipfile(io.BytesIO(content)):
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                broken = archive.testzip()  # torch.load does not look at the sums
            if broken is not None:
                msg = f"{broken} does not match its checksum"
                raise ValueError(msg)  # noqa: TRY301 -- one message for all damage
        with torch.serialization.safe_globals(_OF_A_TRAINING):
            return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:
        asked = re.search(r"GLOBAL ([\w.]+)", str(error)) if isinstance(error, pickle.UnpicklingError) else None
        if asked is not None:
            msg = (
                f"{path} asks for {asked[1]}, which is no number and no tensor. It was not run, and the file is not "
                "read: a checkpoint from a source you do not trust may do anything. From one that you trust, store the "
                "tensors alone where they were made: torch.save(checkpoint['state_dict'], file)."
            )
            raise PromptMismatchError(msg) from error
        reason = str(error).partition("\n")[0][:100] or type(error).__name__
        msg = f"{path} is damaged or no file of torch.save ({len(content)} bytes; {reason}): {_TAKE_ANOTHER}."
        raise PromptMismatchError(msg) from error


def _tensors(path: Path, loaded: object) -> dict[str, Tensor]:
    if isinstance(loaded, Mapping) and isinstance(loaded.get(_NESTED), Mapping):
        loaded = loaded[_NESTED]
    if not isinstance(loaded, Mapping):
        msg = f"{path} holds a {type(loaded).__name__}: a dict of tensors, or one with a state_dict, can be imported."
        raise PromptMismatchError(msg)
    return {_bare(str(name)): value for name, value in loaded.items() if isinstance(value, Tensor)}


def _bare(name: str) -> str:
    for prefix in _PREFIXES:
        name = name.removeprefix(prefix)
    return name
