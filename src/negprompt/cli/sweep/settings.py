"""Settings of `launcher`, checked before the first job is made of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from negprompt.cli.build import settings
from negprompt.cli.paths import options
from negprompt.cli.sweep import slurm
from negprompt.errors import ConfigError, nearest
from negprompt.settings import Settings

Count = Annotated[int, Field(ge=1)]
_OURS = ("array", "dependency", "output", "error", "signal", "open-mode")


class Launcher(Settings):
    """Base of all launchers: how many members share a job, how many run at a time here (None: not here)."""

    name: str
    members_per_job: Count = 1


class Local(Launcher):
    """One member after the other."""

    name: Literal["local"]


class Joblib(Launcher):
    """Several members at a time on this machine."""

    name: Literal["joblib"]
    n_jobs: Count | None = None


class Submitit(Launcher):
    """What submitit's executors share: a time limit, a signal before it, and starting again."""

    timeout_min: Count
    signal_delay_s: Count
    max_num_timeout: Annotated[int, Field(ge=0)]

    @model_validator(mode="after")
    def _time_is_left(self) -> Submitit:
        if self.signal_delay_s >= 60 * self.timeout_min:
            msg = (
                f"launcher.signal_delay_s={self.signal_delay_s} is not shorter than launcher.timeout_min="
                f"{self.timeout_min} (minutes): a job would be asked to save before it has begun. Give it more time."
            )
            raise ConfigError(msg)
        return self


class SubmititLocal(Submitit):
    """Jobs on this machine."""

    name: Literal["submitit_local"]
    n_jobs: Count | None = None


class Slurm(Submitit):
    """Array jobs of Slurm; None leaves a choice to the cluster."""

    name: Literal["slurm"]
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    gpus_per_node: Annotated[int, Field(ge=0)] | None = None
    cpus_per_task: Count | None = None
    mem_gb: Count | None = None
    array_parallelism: Count = 256
    setup: list[str] | None = None
    additional_parameters: Annotated[dict[str, Any], Field(default_factory=dict)]
    wait: bool = True

    def check(self) -> None:
        """Refuse what this cluster cannot run.

        Raises:
            ConfigError: no Slurm here, no such partition, a shorter limit, or an option that the launcher itself sets.
        """
        taken = [key for key in self.additional_parameters if key.replace("_", "-") in _OURS]
        if taken:
            msg = f"launcher.additional_parameters.{taken[0]} is set by the launcher itself: leave it out."
            raise ConfigError(msg)
        slurm.check(self.partition, self.timeout_min)

    def check_devices(self, devices: int, accelerator: str) -> None:
        """Refuse a member that wants more GPUs than its node will have.

        Raises:
            ConfigError: names both numbers.
        """
        gpus = self.gpus_per_node
        wanted = accelerator == "gpu" or (accelerator == "auto" and gpus)
        if gpus is not None and wanted and devices > gpus:
            msg = (
                f"trainer.devices={devices} and trainer.accelerator={accelerator}, but launcher.gpus_per_node={gpus}: "
                "a job has one node; set both to the same number."
            )
            raise ConfigError(msg)


_KINDS: dict[str, type[Launcher]] = {"local": Local, "joblib": Joblib, "submitit_local": SubmititLocal, "slurm": Slurm}


def launcher_settings(node: Mapping[str, Any]) -> Launcher:
    """Check the values of the launcher's node.

    Raises:
        ConfigError: names the setting, its value and what is allowed.
    """
    name = str(node.get("name"))
    if name not in _KINDS:
        msg = f"launcher={name}: unknown; {nearest(name, options('launcher'))}."
        raise ConfigError(msg)
    return settings(_KINDS[name], node, "launcher")
