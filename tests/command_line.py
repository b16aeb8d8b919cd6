"""The command line as a user calls it: light overrides, what a call said, and the bytes that equal runs share."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from unittest import mock

from negprompt.cli import main as cli

LIGHT = (
    "trainer=cpu",
    "trainer.progress_bar=false",
    "features.views=1",
    "data.num_shots=2",
    "method.optimizer.epochs=3",
    "method.optimizer.min_steps=0",
    "method.positive.optimizer.epochs=3",
    "method.positive.optimizer.min_steps=0",
)
ONE_STAGE = tuple(word for word in LIGHT if not word.startswith("method."))


class Said(NamedTuple):
    """What a command ended with: exit code, standard output, standard error."""

    code: int
    out: str = ""
    err: str = ""

    @property
    def messages(self) -> list[str]:
        """Lines of standard error that are the command's own, without those of the log."""
        return [line for line in self.err.splitlines() if line.startswith("negprompt ")]


def call(*words: object) -> int:
    """`negprompt <words>` in this process; the exit code."""
    with (
        mock.patch.object(sys, "argv", ["negprompt", *map(str, words)]),
        mock.patch("negprompt.stopping.listen"),
        logging_as_before(),
    ):
        try:
            cli.main()
        except SystemExit as end:
            return int(end.code or 0)
    return 0


@contextmanager
def logging_as_before() -> Iterator[None]:
    """Take back what Hydra does to logging: its handlers write to a stream that is gone after a test."""
    ours = logging.getLogger("negprompt")
    before = logging.root.handlers[:], logging.root.level, ours.level
    try:
        yield
    finally:
        logging.root.handlers[:] = before[0]
        logging.root.setLevel(before[1])
        ours.setLevel(before[2])


def results(runs_dir: Path) -> dict[str, bytes]:
    """Bytes of everything that equal runs share, by path below a runs folder."""
    names = ("metrics.json", "scores.npz", "prompts.safetensors", "metrics.csv", "DONE")
    return {str(path.relative_to(runs_dir)): path.read_bytes() for name in names for path in runs_dir.rglob(name)}


def one_message(said: Said, code: int, *fragments: str) -> None:
    """One line of our own, with all fragments in it, and no traceback."""
    (line,) = said.messages
    assert not [fragment for fragment in fragments if fragment not in line], line
    assert said.code == code
    assert "Traceback" not in said.err + said.out


def processes_with(text: str) -> list[str]:
    """Command lines of other processes that contain a text."""
    lines = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = file.read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if text in line and file.parent.name != str(os.getpid()):
            lines.append(line)
    return lines
