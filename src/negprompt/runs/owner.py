"""Who works in a run folder, as others can check it: machine, process, Slurm job; and whether it still does."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import subprocess
from pathlib import Path
from typing import NamedTuple

_SLURM_PATIENCE_S = 10
_UNKNOWN_JOB = "Invalid job id"


class Owner(NamedTuple):
    """A process.

    `machine` tells apart hosts, their boots and containers on them; `process_start` tells apart two processes that had
    the same number one after the other; `restart` counts how often Slurm has queued the job again.
    """

    key: str
    host: str
    machine: str
    pid: int
    process_start: str | None
    cluster: str | None
    job_id: str | None
    restart: int
    since: str

    def words(self) -> str:
        """The owner in a message."""
        job = f" (Slurm job {self.job_id})" if self.job_id else ""
        return f"process {self.pid} on {self.host}{job}, since {self.since}"


def myself(key: str, since: str) -> Owner:
    """This process.

    Args:
        key: what nobody else has.
        since: the time, for messages.
    """
    return Owner(
        key,
        platform.node(),
        _machine(),
        os.getpid(),
        _process_start(os.getpid()),
        os.environ.get("SLURM_CLUSTER_NAME"),
        _job_id(),
        _restart(),
        since,
    )


def is_earlier_me(owner: Owner) -> bool:
    """Whether an owner is this job before Slurm queued it again, which it does once all of it has ended."""
    return _is_of_my_job(owner) and owner.restart < _restart()


def has_ended(owner: Owner, *, ask_slurm: bool) -> bool:
    """Whether an owner is known to run no more; False where nothing is known.

    Args:
        owner: the owner.
        ask_slurm: whether Slurm is asked for the state of its job.
    """
    if owner.machine == _machine():
        return not _runs(owner.pid, owner.process_start)
    return ask_slurm and owner.job_id is not None and not _is_of_my_job(owner) and _job_has_ended(owner)


def this_job() -> str | None:
    """The Slurm job of this process, the same each time Slurm queues it again; None outside of one."""
    job, cluster = _job_id(), os.environ.get("SLURM_CLUSTER_NAME")
    return None if job is None else f"{cluster} {job}"


def is_queued_again() -> bool:
    """Whether Slurm has started the job of this process before."""
    return _restart() > 0


def _is_of_my_job(owner: Owner) -> bool:
    return owner.job_id is not None and (owner.job_id, owner.cluster) == (
        _job_id(),
        os.environ.get("SLURM_CLUSTER_NAME"),
    )


def _job_id() -> str | None:
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{task}" if array and task else os.environ.get("SLURM_JOB_ID")


def _restart() -> int:
    count = os.environ.get("SLURM_RESTART_COUNT", "")
    return int(count) if count.isdecimal() else 0


def _machine() -> str:
    """Host name, and where the kernel tells them: number of the boot and of the space of process numbers."""
    parts = [platform.node()]
    with contextlib.suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip())
        parts.append(str(Path("/proc/self/ns/pid").readlink()))
    return " ".join(parts)


def _process_start(pid: int) -> str | None:
    """When a process began, in the kernel's words; None where it does not tell, or for one that has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    state, start = fields[0], fields[19]
    return None if state in "ZX" else start


def _runs(pid: int, start: str | None) -> bool:
    if start is not None:
        return _process_start(pid) == start
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _job_has_ended(owner: Owner) -> bool:
    """Whether Slurm here knows the job as not running; an unknown job of another cluster may well run."""
    if owner.cluster is None or owner.cluster != (os.environ.get("SLURM_CLUSTER_NAME") or _cluster()):
        return False
    done = _ask("squeue", "-h", "-j", str(owner.job_id), "-o", "%T")
    if done is None:
        return False
    if done.returncode:
        return _UNKNOWN_JOB in done.stderr
    return set(done.stdout.split()) <= {"PENDING"}  # queued again, or not listed at all


def _cluster() -> str | None:
    done = _ask("scontrol", "show", "config")
    found = re.search(r"^ClusterName\s*=\s*(\S+)", done.stdout, re.MULTILINE) if done else None
    return found[1] if found else None


def _ask(*command: str) -> subprocess.CompletedProcess[str] | None:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=_SLURM_PATIENCE_S)
    except (OSError, subprocess.SubprocessError):
        return None
