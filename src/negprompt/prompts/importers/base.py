"""What a checkpoint of other code comes down to, and the few looks at tensors that every format needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from negprompt.errors import PromptMismatchError

State = Mapping[str, Tensor]
"""Tensors by name, as a checkpoint holds them."""

_SHOWN = 6


class ForeignPrompts(NamedTuple):
    """Contexts that other code has trained, and the token embeddings that it stored beside them.

    `positive` (n, d) or (K, n, d) and `negative` (P, n, d), (K, P, n, d) or None, float32, on the CPU; `start` (K, d):
    embedding of the start token in each prompt; `rest` (K, L, d): embeddings of what follows the context. Both are None
    where the file has none. `method` is what results call it.
    """

    method: str
    positive: Tensor
    negative: Tensor | None = None
    start: Tensor | None = None
    rest: Tensor | None = None

    @property
    def class_specific(self) -> bool:
        """Whether every class has contexts of its own."""
        return self.positive.dim() == 3

    @property
    def num_classes(self) -> int | None:
        """K, None where nothing in the file tells it."""
        if self.class_specific:
            return len(self.positive)
        return None if self.start is None else len(self.start)


class Format(NamedTuple):
    """A layout of checkpoints: the tensor it is known by, its reader, and whether a full stop ended its prompts."""

    mark: str
    read: Callable[[State], ForeignPrompts]
    full_stop: bool


def context(state: State, name: str, allowed: str, dims: tuple[int, ...]) -> Tensor:
    """A context tensor, as float32.

    Args:
        state: all tensors of the file.
        name: of the context.
        allowed: its shapes, for the message.
        dims: how many axes it may have.

    Raises:
        PromptMismatchError: it is not there, or has another shape or type, or holds NaN or infinity.
    """
    if name not in state:
        msg = f"it has no {name} but {names(state)}: choose the format that it has (format=auto finds it)."
        raise PromptMismatchError(msg)
    found = state[name]
    if found.dim() not in dims or found.numel() == 0 or not found.is_floating_point():
        msg = f"{name} is {shape(found)} {kind(found)}; allowed are floating-point numbers {allowed}."
        raise PromptMismatchError(msg)
    if not torch.isfinite(found).all():
        msg = f"{name} holds numbers that are not finite: its training went wrong. Take another checkpoint."
        raise PromptMismatchError(msg)
    return found.detach().float().cpu()


def tokens(state: State, name: str, shown: str, dims: int, width: int) -> Tensor | None:
    """A buffer of token embeddings, as float32; None where the file has none.

    Raises:
        PromptMismatchError: it has another number of axes, or is not as wide as the context.
    """
    found = state.get(name)
    if found is None:
        return None
    if found.dim() != dims or found.numel() == 0 or found.shape[-1] != width:
        msg = f"{name} is {shape(found)}; beside a context of width {width} it must be {shown}."
        raise PromptMismatchError(msg)
    return found.detach().float().cpu()


def shape(tensor: Tensor) -> str:
    """A shape as messages write it.

    Example:
        >>> shape(torch.zeros(4, 32))
        '[4, 32]'
    """
    return str(list(tensor.shape))


def kind(tensor: Tensor) -> str:
    """A number type as messages write it.

    Example:
        >>> kind(torch.zeros(1).half())
        'float16'
    """
    return str(tensor.dtype).removeprefix("torch.")


def names(state: State) -> str:
    """The first few tensors of a file with their shapes, for messages."""
    some = [f"{name} {shape(tensor)}" for name, tensor in list(state.items())[:_SHOWN]]
    more = len(state) - len(some)
    return (", ".join(some) or "no tensor") + (f" and {more} more" if more else "")
