"""`negprompt evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console

from negprompt import api
from negprompt.cli import launch
from negprompt.cli.build import build_request
from negprompt.cli.stored import stored_config
from negprompt.errors import RunError
from negprompt.reports.tables import run_table
from negprompt.runs.finished import find_run


def check(config: dict[str, Any]) -> None:
    """Refuse bad settings before anything runs."""
    build_request(_with_run(config)).check()


def job(config: dict[str, Any]) -> None:
    """Score the benchmark with the run's prompts and print the table."""
    request = build_request(_with_run(config))
    folder = find_run(config["run"]).path
    output = Path(config["output"] or folder / "evaluation" / request.data.name)
    console = Console(quiet=launch.is_silent())
    console.print(run_table(api.evaluate(request, folder, output)))
    console.print(f"written to {output}", highlight=False, soft_wrap=True)


def _with_run(config: dict[str, Any]) -> dict[str, Any]:
    """The run's own configuration, with what this command was told in its place."""
    if not isinstance(config["run"], str):
        msg = f"run={config['run']}: give a run folder, or the prompts.safetensors in one."
        raise RunError(msg)
    run = find_run(config["run"]).path
    base = stored_config(run)
    here = {key: config[key] for key in ("text_path", "text_chunk")}
    if "weights_dir" in base["backbone"] and config["paths"]["weights_dir"] is not None:
        here["weights_dir"] = config["paths"]["weights_dir"]
    backbone = base["backbone"] | here
    told = {key: value for key, value in config.items() if value is not None and key not in ("run", "output")}
    return {**base, "backbone": backbone, "score": {}, **told}
