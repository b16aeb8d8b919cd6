"""What holds for methods with an adapter trained on captions: it goes on after a stop as if there had been none."""

from __future__ import annotations

import signal
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from helpers import listening

from negprompt import api
from negprompt.api import Finished, Request


def adapters(runs_dir: Path, method: str) -> list[Path]:
    """Adapters that runs of a folder have trained for a method, "*" for any."""
    return sorted(runs_dir.glob(f"_adapters/{method}/tiny_test/*/adapter.safetensors"))


def assert_same(resumed: Finished, finished: Finished, runs_dir: Path, original_runs_dir: Path) -> None:
    """Two runs of one request in two folders have equal bytes, and so have the adapters that they trained."""
    assert resumed.folder.name == finished.folder.name
    for name in ("adapter.safetensors", "prompts.safetensors", "metrics.json", "scores.npz"):
        assert (resumed.folder / name).read_bytes() == (finished.folder / name).read_bytes()
    (trained,) = adapters(runs_dir, "*")
    original = original_runs_dir / trained.relative_to(runs_dir)
    for name in ("adapter.safetensors", "metrics.csv"):
        assert trained.with_name(name).read_bytes() == original.with_name(name).read_bytes()


def crash_and_go_on(run: tuple[Request, Finished], runs_dir: Path, training: type[Any], stop: int) -> int:
    """A run made again, which crashes before step `stop` of its adapter; how many steps the try after it does."""
    asked, finished = run
    step = training.training_step
    crashes: list[int] = []
    seen: list[int] = []

    def crashing(self: Any, *args: Any) -> Any:
        if self.global_step == stop and not crashes:
            crashes.append(stop)
            raise OSError("power cut")
        return step(self, *args)

    again = replace(asked, runs_dir=runs_dir, trainer=asked.trainer.model_copy(update={"checkpoint_minutes": 1e-9}))
    _stopped(again, training, crashing, pytest.raises(OSError, match="power cut"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "training_step", lambda self, *args: seen.append(0) or step(self, *args))
        assert_same(api.train(again), finished, runs_dir, asked.runs_dir)
    return len(seen)


def signal_and_go_on(run: tuple[Request, Finished], runs_dir: Path, training: type[Any], stop: int) -> None:
    """The run of a request again, which gets a signal in step `stop` of its adapter, and once more."""
    asked, finished = run
    step = training.training_step

    def signalled(self: Any, *args: Any) -> Any:
        if self.global_step == stop - 1:
            signal.raise_signal(signal.SIGUSR1)
        return step(self, *args)

    again = replace(asked, runs_dir=runs_dir)
    with listening():
        _stopped(again, training, signalled, pytest.raises(KeyboardInterrupt))
    assert_same(api.train(again), finished, runs_dir, asked.runs_dir)


def _stopped(
    asked: Request, training: type[Any], step: Callable[..., Any], as_expected: AbstractContextManager[object]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "training_step", step)
        with as_expected:
            api.train(asked)
