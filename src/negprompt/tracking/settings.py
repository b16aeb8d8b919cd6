"""Where training curves go besides the run folder."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from negprompt.settings import Settings


class LoggerSettings(Settings):
    """Where training curves go besides the run folder; nothing here changes a result or a run folder's name.

    `entity`: user or team, null for the account's default. `group`: holds the runs of one sweep together.
    `mode`: the environment's WANDB_MODE wins, as everywhere in W&B.
    """

    name: Literal["csv", "wandb", "none"] = "csv"
    project: Annotated[str, Field(min_length=1, max_length=128)] = "negprompt"
    entity: str | None = None
    group: str | None = None
    job_type: str = "train"
    tags: list[str] = Field(default_factory=list)
    notes: str | None = None
    mode: Literal["online", "offline"] = "online"
