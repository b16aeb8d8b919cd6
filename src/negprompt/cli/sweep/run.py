"""`negprompt train --multirun`: check everything, run what is unfinished, say how every member ended."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch

from negprompt.cli import launch as processes
from negprompt.cli.arguments import Arguments
from negprompt.cli.compose import Composed, plain
from negprompt.cli.sweep import children, gpus, slurm
from negprompt.cli.sweep.job import Job, Jobs
from negprompt.cli.sweep.launch import launch
from negprompt.cli.sweep.member import Member
from negprompt.cli.sweep.plan import Plan, planned
from negprompt.cli.sweep.queue import Queue
from negprompt.cli.sweep.settings import Launcher, Slurm, launcher_settings
from negprompt.cli.sweep.summary import Ledger, exit_code
from negprompt.cli.sweep.view import View
from negprompt.errors import ConfigError
from negprompt.runs.folder import RunFolder
from negprompt.runs.lease import holder


def run(arguments: Arguments, composed: Sequence[Composed]) -> int:
    """Run a sweep.

    Args:
        arguments: the command line.
        composed: its members.

    Returns:
        Exit code: 0 all are done, 1 some failed, 75 some are queued or run elsewhere, 128 + the signal that stopped it.

    Raises:
        NegPromptError: something in the command cannot work; nothing was started.
    """
    if processes.is_one_of_several():
        msg = "--multirun starts the processes of its members itself: start it without torchrun or srun."
        raise ConfigError(msg)
    launcher = launcher_settings(plain(composed[0].config.launcher))
    launcher.check()
    plan = planned(arguments, composed, launcher)
    RunFolder(plan.folder).create()
    view = View(plan, launcher)
    view.plan()
    if isinstance(launcher, Slurm):
        return _on_slurm(plan, launcher, arguments.overrides, view)
    return _here(plan, launcher, arguments.overrides, view)


def _here(plan: Plan, launcher: Launcher, overrides: Sequence[str], view: View) -> int:
    """Run the members on this machine, and wait for them."""
    ledger = Ledger(plan.folder, plan.members, plan.reused, _running)
    ledger.save()
    ledger.write()
    watch = view.watch(ledger)
    width = _width(launcher, plan)
    options = {"n_jobs": width} if hasattr(launcher, "n_jobs") else {}
    with children.stopped_by_signals():
        for members in (plan.first, plan.rest):
            jobs = [_job(some, plan.folder, launcher, width) for some in _grouped(members, launcher.members_per_job)]
            if jobs and children.received() is None:
                with _nursery(jobs, launcher):
                    launch(Jobs(jobs, watch), launcher, plan.folder, overrides, **options)
        stopped = children.received()
    rows = Ledger(plan.folder, plan.members, plan.reused, _elsewhere).write()
    view.end(rows, was_stopped=stopped is not None)
    if stopped is not None:
        view.stopped(stopped)
        return 128 + stopped
    return exit_code(rows)


def _on_slurm(plan: Plan, launcher: Slurm, overrides: Sequence[str], view: View) -> int:
    """Queue everything at once, then look on; nothing hangs on this process from here on."""
    queue = Queue([*plan.first, *plan.members])
    ledger = Ledger(plan.folder, plan.members, plan.reused, queue.state)
    ledger.save()
    before = [job for one in plan.rest if one.first_stage and (job := slurm.ticket(one.first_stage)) in queue.known()]
    for members in (plan.first, plan.rest):
        grouped = _grouped(members, launcher.members_per_job)
        jobs = Jobs([_job(some, plan.folder, launcher, 1) for some in grouped])
        if not jobs.jobs:
            continue
        dependency = {"dependency": f"afterany:{':'.join(before)}"} if before else {}
        launch(jobs, launcher, plan.folder, overrides, **dependency)
        for number, job_id in jobs.submitted.items():
            for member in grouped[number]:
                slurm.write_ticket(member.folder, job_id, plan.folder.name)
        before = sorted({*before, *(job_id.partition("_")[0] for job_id in jobs.submitted.values())})
        view.submitted(members, jobs.submitted)
    queue.look()
    rows = ledger.write()
    try:
        if launcher.wait:
            rows = queue.wait(ledger, view)
    except KeyboardInterrupt:
        view.left(ledger.write())
        raise
    view.end(rows)
    return exit_code(rows)


def _nursery(jobs: Sequence[Job], launcher: Launcher) -> AbstractContextManager[None]:
    """What members are forked from, where this very process starts more than one."""
    if launcher.name in ("local", "joblib") and sum(len(job.members) for job in jobs) > 1:
        return jobs[0].nursery()
    return nullcontext()


def _job(members: Sequence[Member], folder: Path, launcher: Launcher, width: int) -> Job:
    here = not isinstance(launcher, Slurm)
    environment = {}
    if os.environ.get("HYDRA_FULL_ERROR") == "1":
        environment["HYDRA_FULL_ERROR"] = "1"
    if width > 1 and "OMP_NUM_THREADS" not in os.environ:
        environment["OMP_NUM_THREADS"] = str(max(1, _cores() // width))
    return Job(
        members=tuple(members),
        folder=folder,
        shown=launcher.name == "local",
        own_session=here,
        gpu_names=gpus.visible(torch.cuda.device_count()) if here and launcher.name != "local" else None,
        environment=tuple(environment.items()),
    )


def _grouped(members: Sequence[Member], size: int) -> list[Sequence[Member]]:
    return [members[start : start + size] for start in range(0, len(members), size)]


def _width(launcher: Launcher, plan: Plan) -> int:
    """Jobs at a time on this machine: those asked for, or one for each GPU or, where none is wanted, each core."""
    if not hasattr(launcher, "n_jobs"):
        return 1
    wants_gpus = any(member.gpus for member in plan.members)
    most = launcher.n_jobs or (torch.cuda.device_count() if wants_gpus else _cores())
    return max(1, min(most, max(len(plan.first), len(plan.rest))))


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def _running(member: Member) -> str | None:
    return "running" if holder(member.folder) is not None else None


def _elsewhere(member: Member) -> str | None:
    """Once all of this sweep's own have ended."""
    return "running elsewhere" if holder(member.folder) is not None else None
