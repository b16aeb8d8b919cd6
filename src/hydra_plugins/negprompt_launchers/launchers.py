"""What `hydra/launcher` can name beside Hydra's own: several members at a time here, submitit's jobs here, Slurm.

The jobs are `negprompt.cli.sweep.job.Jobs`, handed over as Hydra's task: launchers only decide where they run.

No annotations from the future: Hydra loads this file in a way that hides the module from dataclasses.
"""

import abc
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

_MODULE = "hydra_plugins.negprompt_launchers.launchers"


@dataclass
class JoblibConf:
    """Settings of `JoblibLauncher`."""

    _target_: str = f"{_MODULE}.JoblibLauncher"
    n_jobs: int | None = None


@dataclass
class SubmititLocalConf:
    """Settings of `SubmititLocalLauncher`."""

    _target_: str = f"{_MODULE}.SubmititLocalLauncher"
    n_jobs: int | None = None
    timeout_min: int = 1440
    signal_delay_s: int = 120
    max_num_timeout: int = 30


@dataclass
class SlurmConf:
    """Settings of `SlurmLauncher`, as submitit names them."""

    _target_: str = f"{_MODULE}.SlurmLauncher"
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    timeout_min: int = 1440
    gpus_per_node: int | None = None
    cpus_per_task: int | None = None
    mem_gb: int | None = None
    array_parallelism: int = 256
    signal_delay_s: int = 120
    max_num_timeout: int = 30
    setup: list[str] | None = None
    additional_parameters: dict[str, Any] = field(default_factory=dict)
    dependency: str | None = None


class _Launcher(Launcher):
    def __init__(self, **params: Any) -> None:  # noqa: ANN401 -- from yaml
        self.params: dict[str, Any] = {
            key: OmegaConf.to_container(value) if OmegaConf.is_config(value) else value for key, value in params.items()
        }

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep what a launch needs."""
        self.hydra_context = hydra_context
        self.jobs: Any = task_function
        self.config = config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Start the jobs that the overrides number."""
        del initial_job_idx
        loader = self.hydra_context.config_loader
        numbers = [int(loader.load_sweep_config(self.config, list(words)).job) for words in job_overrides]
        self._launch(numbers, str(self.config.hydra.sweep.dir))
        return [_completed() for _ in numbers]

    @abc.abstractmethod
    def _launch(self, numbers: Sequence[int], folder: str) -> None:
        """Start the jobs of these numbers, and return when they have ended or are queued."""


class JoblibLauncher(_Launcher):
    """Several jobs at a time, in threads that only wait for child processes."""

    def _launch(self, numbers: Sequence[int], folder: str) -> None:
        from negprompt.cli.sweep.executors import in_threads

        del folder
        in_threads(self.jobs, numbers, self.params["n_jobs"] or 1)


class SubmititLocalLauncher(_Launcher):
    """submitit's local executor, some jobs at a time."""

    def _launch(self, numbers: Sequence[int], folder: str) -> None:
        from negprompt.cli.sweep.executors import on_this_machine

        on_this_machine(self.jobs, numbers, folder, **self.params)


class SlurmLauncher(_Launcher):
    """One array job; returns when it is queued."""

    def _launch(self, numbers: Sequence[int], folder: str) -> None:
        from negprompt.cli.sweep.executors import on_slurm

        on_slurm(self.jobs, numbers, folder, **self.params)


def _completed() -> JobReturn:
    done = JobReturn()
    done.status, done.return_value = JobStatus.COMPLETED, None
    return done


for _name, _node in {
    "negprompt_joblib": JoblibConf,
    "negprompt_submitit_local": SubmititLocalConf,
    "negprompt_slurm": SlurmConf,
}.items():
    ConfigStore.instance().store(group="hydra/launcher", name=_name, node=_node, provider="negprompt")
