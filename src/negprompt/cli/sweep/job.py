"""Jobs: what a launcher starts. One job runs some members, one after the other, as child processes.

Without torch and Hydra, since a job on a cluster should be nothing beside its children.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from negprompt.cli import exit_codes
from negprompt.cli.sweep import children, gpus, summary
from negprompt.cli.sweep.member import Member, time_of
from negprompt.errors import RunError
from negprompt.runs.folder import DONE, FAILED, RunFolder, atomic_write


class ChildDiedError(RunError):
    """A run ended without a word of its own."""


class Watch:
    """Who wants to know how a sweep goes on: here, whoever reads its sweep.csv.

    Args:
        folder: of the sweep.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def begun(self, member: Member) -> None:
        """A member is about to start."""

    def look(self) -> None:
        """Time has passed, and members may have begun or ended in other processes."""

    def ended(self, member: Member) -> None:  # noqa: ARG002 -- for those who watch closer
        """A member has ended."""
        with contextlib.suppress(RunError):  # a full disk: the next one, or the same command, brings it up to date
            summary.load(self.folder).write()


@dataclass(frozen=True)
class Job:
    """Some members and where they leave what they say.

    `shown`: let the only child speak on the terminal, in place of a log for each.
    `own_session`: whether a child leaves the process group; not under Slurm, which counts a job's processes by it.
    `gpu_names`: GPUs of this machine to take from, None where a cluster hands them out.
    """

    members: tuple[Member, ...]
    folder: Path
    shown: bool = False
    own_session: bool = True
    gpu_names: tuple[str, ...] | None = None
    working_folder: str = field(default_factory=os.getcwd)
    environment: tuple[tuple[str, str], ...] = ()

    def __call__(self, watch: Watch | None = None) -> None:
        """Run what is not done yet; one that fails does not stop the others.

        Args:
            watch: told of every member that begins and ends; by default sweep.csv is brought up to date.
        """
        watch = watch or Watch(self.folder)
        if _attempt() is not None:  # submitit does not heed it: a cluster that ends a job, or the sweep that started it
            signal.signal(signal.SIGTERM, children.stop)
        os.chdir(self.working_folder)
        several = _attempt() is not None and len(self.members) > 1
        with self.nursery() if several else contextlib.nullcontext():
            for member in self.members:
                if children.received() is not None:
                    return
                if not (member.folder / DONE).is_file() or self._starts_anew(member):
                    watch.begun(member)
                    self._run(member)
                    watch.ended(member)

    def nursery(self) -> contextlib.AbstractContextManager[None]:
        """Lets children start without imports while it is open, here or in other jobs of this process."""
        return children.forked(dict(self.environment), own_session=self.own_session)

    def checkpoint(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 -- submitit's types
        """What submitit calls, in the handler of its signal, before it queues a job again: the child saves first."""
        from submitit.helpers import DelayedSubmission

        children.stop(signal.SIGUSR2)
        children.wait_for_all()
        return DelayedSubmission(self, *args, **kwargs)

    def _run(self, member: Member) -> None:
        words = list(member.words)
        if member.fresh and not self._starts_anew(member):
            words.append("resume=auto")  # queued again: an earlier incarnation of this job has begun the new run
        before = time_of(member.folder / FAILED)
        with contextlib.ExitStack() as stack:
            variables = dict(self.environment) | stack.enter_context(self._gpus(member))
            output = None if self.shown else stack.enter_context(children.log_file(self.log(member)))
            if member.fresh and (attempt := _attempt()):
                atomic_write(self._mark(member), attempt.encode())
            code = children.run(
                ["train", *words],
                environment=variables,
                output=output,
                own_session=self.own_session,
            )
        if (
            code is not None
            and code not in (0, exit_codes.BUSY, *children.STOPPED)
            and time_of(member.folder / FAILED) == before
        ):
            _note(member, code)

    def log(self, member: Member) -> Path:
        """Where a member that is not shown leaves what it says."""
        return self.folder / f"{member.file_name}.log"

    @contextlib.contextmanager
    def _gpus(self, member: Member) -> Iterator[dict[str, str]]:
        """The variable that gives a child the GPUs it may use, held until its end."""
        if self.gpu_names is None or not member.gpus:
            yield {}
            return
        with gpus.leased(self.gpu_names, member.gpus, given_up=lambda: children.received() is not None) as names:
            yield {gpus.VARIABLE: ",".join(names)}

    def _mark(self, member: Member) -> Path:
        return self.folder / f".{member.file_name}.begun"

    def _starts_anew(self, member: Member) -> bool:
        """Whether `resume=never` is still to be obeyed: a job that is queued again must not lose what it did."""
        if not member.fresh:
            return False
        try:
            return self._mark(member).read_text() != _attempt()
        except OSError:
            return True


class Jobs:
    """The task that Hydra's launchers run, with `job=<number>` in its configuration; can be pickled."""

    def __init__(self, jobs: Sequence[Job], watch: Watch | None = None) -> None:
        self.jobs = tuple(jobs)
        self.watch = watch
        self.submitted: dict[int, str] = {}
        """Ids of jobs that a launcher has queued, by number."""

    def __call__(self, config: Any) -> None:  # noqa: ANN401 -- Hydra's DictConfig, or anything with a job number
        """Run one job here."""
        self.jobs[int(config.job)](self.watch)


def _attempt() -> str | None:
    """The submitted job that this process belongs to, the same in all its incarnations; None outside of one."""
    if "SUBMITIT_EXECUTOR" not in os.environ:
        return None
    names = ("SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID", "SLURM_JOB_ID", "SUBMITIT_LOCAL_JOB_ID")
    return " ".join(os.environ[name] for name in names if name in os.environ)


def _note(member: Member, code: int) -> None:
    """FAILED.json of a run that could not write its own."""
    number = -code if code < 0 else code - 128
    if number in set(signal.Signals):
        hint = " (out of memory?)" if number == signal.SIGKILL else ""
        message = f"killed by {signal.Signals(number).name}{hint}"
    else:
        message = f"ended with exit code {code}; what it said is above, or in its log"
    with contextlib.suppress(RunError):  # a full disk
        RunFolder(member.folder).mark_failed("unknown", ChildDiedError(message))
