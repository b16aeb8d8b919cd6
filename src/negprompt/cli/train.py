"""`negprompt train`."""

from __future__ import annotations

from typing import Any

from rich.console import Console

from negprompt import api
from negprompt.cli import launch
from negprompt.cli.build import build_request
from negprompt.reports.tables import run_table
from negprompt.runs.folder import RunFolder


def check(config: dict[str, Any]) -> None:
    """Refuse bad settings before anything runs."""
    request = build_request(config)
    request.check()
    RunFolder(request.runs_dir / "_hydra").create()  # Hydra makes it too, but does not explain why it cannot


def job(config: dict[str, Any]) -> None:
    """Train, evaluate and print the table of one run."""
    finished = api.train(build_request(config))
    console = Console(quiet=launch.is_silent())
    console.print(run_table(finished.metrics))
    console.print(f"{'reused' if finished.reused else 'written to'} {finished.folder}", highlight=False, soft_wrap=True)
