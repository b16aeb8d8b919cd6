"""Training curves and results in Weights & Biases (the only file that imports wandb)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import wandb
from lightning.pytorch.loggers import WandbLogger
from pydantic import Field

from negprompt.errors import RunError
from negprompt.settings import Settings


class Tracker(WandbLogger):
    """Sends the rows of the curves."""

    def saved(self, rows: Sequence[Mapping[str, float]]) -> None:
        """Send the newest row."""
        self.log_metrics(dict(rows[-1]), step=int(rows[-1]["step"]))


class LoggerSettings(Settings):
    """Where training curves go besides the run folder; nothing here changes a result."""

    name: Literal["csv", "wandb", "none"] = "csv"
    project: Annotated[str, Field(min_length=1)] = "negprompt"
    mode: Literal["online", "offline"] = "online"
    group: str | None = None


@contextmanager
def tracked(settings: LoggerSettings, folder: Path, config: Mapping[str, Any]) -> Iterator[Tracker | None]:
    """A W&B logger for the time of one run, None where none is asked for; closed also when the run fails.

    The W&B id is made of the run folder's name, which holds the request's hash: a resumed run goes on in its own curve.

    Raises:
        RunError: W&B cannot be reached or refuses the login.
    """
    if settings.name != "wandb":
        yield None
        return
    run_id = "-".join(folder.parts[-4:])
    try:
        logger = Tracker(
            name=run_id,
            id=run_id,
            project=settings.project,
            group=settings.group,
            save_dir=folder,
            offline=settings.mode == "offline",
            resume="allow",
            config=dict(config),
        )
        logger.experiment  # noqa: B018 -- starts the W&B run now, so that a missing login is seen before training
    except (wandb.Error, OSError) as error:
        msg = f"W&B did not start ({error}): log in with `wandb login`, or set logger.mode=offline or logger=csv."
        raise RunError(msg) from error
    try:
        yield logger
    finally:
        wandb.finish()


def log_results(logger: Tracker | None, metrics: Mapping[str, Any]) -> None:
    """Put the content of metrics.json into the W&B run's summary."""
    if logger is not None:
        logger.experiment.summary.update(dict(metrics))
