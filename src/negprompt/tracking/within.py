"""Calls that may hang, with a time limit."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import TypeVar

Value = TypeVar("Value")


def within(seconds: float, call: Callable[[], Value]) -> Value:
    """The value of a call that has a time limit; after it the call is left to itself in its thread.

    Raises:
        TimeoutError: the limit is reached.
        Exception: what the call raises.
    """
    answers: queue.SimpleQueue[tuple[Value | None, BaseException | None]] = queue.SimpleQueue()

    def answer() -> None:
        try:
            answers.put((call(), None))
        except BaseException as error:  # noqa: BLE001 -- handed on to the caller
            answers.put((None, error))

    threading.Thread(target=answer, daemon=True, name="wandb call").start()
    try:
        value, error = answers.get(timeout=seconds)
    except queue.Empty:
        msg = f"no answer in {seconds:.0f} s"
        raise TimeoutError(msg) from None
    if isinstance(error, Exception):
        raise error
    if error is not None:
        msg = f"{type(error).__name__} in wandb"
        raise RuntimeError(msg) from error
    return value  # type: ignore[return-value]  # no error, so a value
