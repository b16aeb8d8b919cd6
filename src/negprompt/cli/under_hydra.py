"""Hydra's own main function, with its errors let through to us."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import hydra
from hydra.types import TaskFunction

from negprompt.cli.paths import conf_dir

FULL_ERROR = "HYDRA_FULL_ERROR"


def run_hydra(program: str, words: Sequence[str], config_name: str, task: TaskFunction) -> None:
    """Let Hydra run a task as if it had been started with a command line.

    Args:
        program: how the command is called.
        words: flags, then overrides.
        config_name: of the yaml, below `conf/`.
        task: called with each composed configuration.
    """
    sys.argv = [program, *words]
    with _errors_reach_us():
        main: Any = hydra.main(config_path=str(conf_dir()), config_name=config_name, version_base="1.3")(task)
        main()


@contextmanager
def _errors_reach_us() -> Iterator[None]:
    """Hydra prints errors in its own way and exits, unless it is told to let them through."""
    before = os.environ.get(FULL_ERROR)
    os.environ[FULL_ERROR] = "1"
    try:
        yield
    except SystemExit as done:  # after --help
        if done.code:
            raise
    finally:
        if before is None:
            del os.environ[FULL_ERROR]
        else:
            os.environ[FULL_ERROR] = before
