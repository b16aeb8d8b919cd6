"""`negprompt train`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console

from negprompt import api
from negprompt.cli import launch
from negprompt.cli.arguments import Arguments
from negprompt.cli.build import build_request
from negprompt.cli.compose import Composed
from negprompt.reports.tables import run_table
from negprompt.runs.folder import RunFolder


def check(config: dict[str, Any]) -> None:
    """Refuse bad settings before anything runs."""
    request = build_request(config)
    request.check()
    RunFolder(request.runs_dir).create()


def job(config: dict[str, Any]) -> None:
    """Train, evaluate and print the table of one run."""
    finished = api.train(build_request(config))
    console = Console(quiet=launch.is_silent())
    console.print(run_table(finished.metrics))
    console.print(f"{'reused' if finished.reused else 'written to'} {finished.folder}", highlight=False, soft_wrap=True)


def sweep(arguments: Arguments, composed: Sequence[Composed]) -> int:
    """Train every member of a sweep in a process of its own; returns the exit code."""
    from negprompt.cli.sweep.run import run  # here, since a single run needs none of it

    return run(arguments, composed)
