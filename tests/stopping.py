"""A command in a process of its own that gets a signal at a certain place, forked from a server with torch loaded."""

from __future__ import annotations

import os
import pkgutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

from forks import SERVER

PLACES = {
    "loading": ("negprompt.api.load_split", 1),
    "image features": ("negprompt.features.extract.FeatureExtraction.predict_step", 1),
    "training of stage 1": ("negprompt.methods.coop.CoOp.loss", 2),
    "evaluation of stage 1": ("negprompt.evaluation.module.PromptEvaluation.test_step", 2),
    "training of stage 2": ("negprompt.methods.negprompt.NegPrompt.loss", 3),
    "evaluation of stage 2": ("negprompt.evaluation.module.PromptEvaluation.test_step", 7),
    "a checkpoint": ("negprompt.runs.folder.os.fsync", 15),
}


def stopped(words: list[str], place: str, number: signal.Signals, output: Path) -> int:
    """`negprompt <words>`, sent a signal at a place; returns its exit code, negative for death by a signal."""
    process = SERVER.Process(target=_command, args=(words, place, number, str(output)))
    process.start()
    process.join(200)
    return 99 if process.exitcode is None else process.exitcode


def _command(words: list[str], place: str, number: signal.Signals, output: str) -> None:
    from negprompt.cli.main import main

    file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(file, 1)
    os.dup2(file, 2)
    sys.argv = ["negprompt", *words]
    name, call = PLACES[place]
    with (
        mock.patch("negprompt.phases.score_histograms"),
        mock.patch(name, _signalling(pkgutil.resolve_name(name), call, number)),
    ):
        main()


def _signalling(original: Callable[..., Any], call: int, number: signal.Signals) -> Callable[..., Any]:
    """`original`, which sends this process a signal at call number `call`."""
    calls = [0]

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        calls[0] += 1
        if calls[0] == call:
            os.kill(os.getpid(), number)
        return original(*args, **kwargs)

    return wrapped
