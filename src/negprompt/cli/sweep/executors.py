"""Where jobs run: in threads that wait for child processes, in submitit's processes here, or on Slurm's nodes."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator, Sequence
from typing import Any

from negprompt.cli.sweep import children
from negprompt.cli.sweep.job import Jobs
from negprompt.errors import ConfigError

_POLL = 1.0


def in_threads(jobs: Jobs, numbers: Sequence[int], n_jobs: int) -> None:
    """Run jobs here, `n_jobs` at a time; each thread only waits for its child process."""
    from joblib import Parallel, delayed

    Parallel(n_jobs=n_jobs, prefer="threads", batch_size=1)(delayed(_run)(jobs, number) for number in numbers)


def on_this_machine(jobs: Jobs, numbers: Sequence[int], folder: str, n_jobs: int | None, **parameters: int) -> None:
    """Run jobs in processes of submitit, `n_jobs` at a time: they save before their time limit and start again.

    Where this process is told to stop, the jobs are told, and waited for while they save.
    """
    from submitit import Job, LocalExecutor

    executor = LocalExecutor(folder=f"{folder}/%j", max_num_timeout=parameters.pop("max_num_timeout"))
    executor.update_parameters(**parameters)
    waiting, told = list(numbers), False
    running: list[Job[None]] = []
    while waiting or running:
        running = [job for job in running if not job.done()]
        while waiting and len(running) < (n_jobs or 1) and children.received() is None:
            with _deaf_to_ctrl_c():
                running.append(executor.submit(jobs.jobs[waiting.pop(0)]))
        if children.received() is not None:
            waiting.clear()
            for job in running if not told else []:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(job.job_id), signal.SIGTERM)
            told = True
        if jobs.watch is not None:
            jobs.watch.look()
        time.sleep(_POLL)


def on_slurm(jobs: Jobs, numbers: Sequence[int], folder: str, **parameters: Any) -> None:  # noqa: ANN401 -- of sbatch
    """Queue jobs as one array; `jobs.submitted` then has their ids.

    Raises:
        ConfigError: Slurm refuses them, with its own words.
    """
    from submitit import SlurmExecutor
    from submitit.core.utils import FailedJobError

    executor = SlurmExecutor(folder=f"{folder}/%j", max_num_timeout=parameters.pop("max_num_timeout"))
    more = {"requeue": True, **parameters.pop("additional_parameters")}
    renamed = {_SBATCH.get(key, key): value for key, value in parameters.items() if value is not None}
    if "mem_gb" in renamed:
        renamed["mem"] = f"{renamed.pop('mem_gb')}GB"
    executor.update_parameters(job_name="negprompt", additional_parameters=more, **renamed)
    try:
        with executor.batch():
            submitted = [executor.submit(jobs.jobs[number]) for number in numbers]
    except FailedJobError as error:
        reason = " ".join(str(error.__cause__ or error).split())
        msg = f"launcher=slurm: Slurm refused the jobs ({reason}). The settings are launcher.partition=... and so on."
        raise ConfigError(msg) from error
    jobs.submitted |= {number: job.job_id for number, job in zip(numbers, submitted, strict=True)}


_SBATCH = {"timeout_min": "time"}


def _run(jobs: Jobs, number: int) -> None:
    jobs.jobs[number](jobs.watch)


@contextlib.contextmanager
def _deaf_to_ctrl_c() -> Iterator[None]:
    """Processes started in the body never hear a terminal's Ctrl-C: this one hears it, and tells them to save."""
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
