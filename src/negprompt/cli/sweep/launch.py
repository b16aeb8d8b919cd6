"""Jobs through Hydra's multirun, so that `hydra/launcher` decides how they are started."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from negprompt.cli.sweep.job import Jobs
from negprompt.cli.sweep.settings import Launcher
from negprompt.cli.under_hydra import run_hydra

_OWN = ("hydra/launcher", "hydra.launcher")


def launch(jobs: Jobs, launcher: Launcher, folder: Path, overrides: Sequence[str], **options: object) -> None:
    """Start all jobs as the launcher does; it returns when they have ended or, on a cluster, are queued.

    Args:
        jobs: what to start.
        launcher: checked settings; they name the yaml in `conf/launcher`.
        folder: of the sweep, for what Hydra and the launcher write.
        overrides: of the command line; those that belong to Hydra's launcher are handed on.
        options: of `hydra.launcher`.
    """
    words = [
        "--multirun",
        *(text for text in overrides if text.lstrip("+~").startswith(_OWN)),
        *(
            f"launcher.{key}={_typed(value)}"
            for key, value in launcher.model_dump(include=launcher.model_fields_set - {"name"}).items()
        ),
        *(f"hydra.launcher.{key}={_typed(value)}" for key, value in options.items()),
        "hydra/job_logging=console",
        "hydra/hydra_logging=console",
        "hydra.output_subdir=null",
        f"hydra.sweep.dir={_typed(str(folder / 'jobs'))}",
        "hydra.sweep.subdir=.",
        "+job=" + ",".join(map(str, range(len(jobs.jobs)))),
    ]
    run_hydra("negprompt train", words, f"launcher/{launcher.name}", jobs)


def _typed(value: object) -> str:
    """A value in the grammar of Hydra's command line."""
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{_typed(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(_typed, value)) + "]"
    if isinstance(value, int | float):
        return str(value)
    return "'" + str(value).replace("\\", "\\\\").replace("'", "\\'") + "'"
