"""Importing open_clip without what it and torchvision load and do not need here: torch's compiler, and W&B.

torchvision loads `torch._dynamo` to mark a few functions as none of its business, timm loads `wandb` for its training
log: together a third of the time in which a `Detector` is ready. While the body of `stand_ins` imports,
modules without content answer in their place. One that is asked for something loads the real module and gives that.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

_COMPILER, _WANDB = "torch._dynamo", "wandb"
_UTILS = f"{_COMPILER}.utils"


class _StandIn(ModuleType):
    """A module that is loaded when it is asked for something that it does not have."""

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 -- a module's own hook
        path_of_package = name == "__path__" and self.__name__ != _UTILS
        asked_by_inspect = name.startswith("__") and sys.modules.get(self.__name__) is self  # every module's file
        if asked_by_inspect and not path_of_package:
            raise AttributeError(name)
        _withdraw()
        return getattr(importlib.import_module(self.__name__), name)


@contextmanager
def stand_ins() -> Iterator[None]:
    """Import in the body without `torch._dynamo` and `wandb`; what is loaded already stays."""
    compiler, utils, wandb = (_StandIn(name) for name in (_COMPILER, _UTILS, _WANDB))
    vars(compiler).update(utils=utils, disable=_not_marked)  # torchvision.tv_tensors, by torch.compiler.disable
    vars(utils).update(is_compile_supported=_is_compile_supported)  # torchvision.ops.roi_align
    if _COMPILER not in sys.modules:
        sys.modules.update({_COMPILER: compiler, _UTILS: utils})
    sys.modules.setdefault(_WANDB, wandb)
    try:
        yield
    finally:
        _withdraw()


def _withdraw() -> None:
    for name in (_COMPILER, _UTILS, _WANDB):
        if isinstance(sys.modules.get(name), _StandIn):
            del sys.modules[name]


def _not_marked(function: Callable[..., object] | None = None, *_: object, **__: object) -> object:
    """What `torch._dynamo.disable` gives, as a function or a decorator with arguments, where nothing is compiled."""
    return (lambda marked: marked) if function is None else function


def _is_compile_supported(device_type: str) -> bool:
    return bool(importlib.import_module(_UTILS).is_compile_supported(device_type))
