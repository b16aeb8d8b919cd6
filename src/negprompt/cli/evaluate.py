"""`negprompt evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

from negprompt import api
from negprompt.cli.build import build_request
from negprompt.errors import RunError
from negprompt.reports.tables import run_table


def check(config: dict[str, Any]) -> None:
    """Refuse bad settings before anything runs."""
    build_request(_with_run(config)).check()


def job(config: dict[str, Any]) -> None:
    """Score the benchmark with the run's prompts and print the table."""
    merged = _with_run(config)
    request = build_request(merged)
    run = Path(config["run"])
    output = Path(config["output"] or _folder(run) / "evaluation" / request.data.name)
    console = Console()
    console.print(run_table(api.evaluate(request, run, output)))
    console.print(f"written to {output}", highlight=False, soft_wrap=True)


def _folder(run: Path) -> Path:
    return run if run.is_dir() else run.parent


def _with_run(config: dict[str, Any]) -> dict[str, Any]:
    """The run's own configuration, with what this command was told in its place."""
    stored = _folder(Path(config["run"])) / "config.yaml"
    if not stored.is_file():
        msg = f"run={config['run']}: no config.yaml there; give a run folder, or the prompts.safetensors in one."
        raise RunError(msg)
    base: dict[str, Any] = yaml.safe_load(stored.read_text(encoding="utf-8"))
    told = {key: value for key, value in config.items() if value is not None and key in base}
    return {**base, **told}
