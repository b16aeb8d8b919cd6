"""What Slurm says: which partitions there are, and which jobs wait or run. Through its own commands, no accounting."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

from negprompt.errors import ConfigError, nearest
from negprompt.runs.folder import atomic_write

TICKET = "job.json"
"""File in a run folder: the job that was queued for it."""

_GONE = "Invalid job id"
_SECONDS = 30


class SilentError(Exception):
    """Slurm's controller did not answer: nothing is known of the jobs."""


def check(partition: str | None) -> None:
    """Make sure that jobs can be submitted here.

    Raises:
        ConfigError: no Slurm on this machine, or no such partition.
    """
    if shutil.which("sbatch") is None or shutil.which("srun") is None:
        msg = "launcher=slurm: there is no sbatch on this machine. Submit from a login node, or set launcher=joblib."
        raise ConfigError(msg)
    if partition is None or shutil.which("sinfo") is None:
        return
    done = _asked(["sinfo", "--noheader", "--format=%R"])
    if done.returncode:
        msg = f"launcher=slurm: sinfo failed ({done.stderr.strip()}). Is Slurm's controller up?"
        raise ConfigError(msg)
    known = sorted(set(done.stdout.split()))
    for name in partition.split(","):
        if name not in known:
            msg = f"launcher.partition={name}: unknown on this cluster; {nearest(name, known)}."
            raise ConfigError(msg)


def states(ids: Iterable[str]) -> dict[str, str]:
    """The state of those jobs that wait or run ("PENDING", "RUNNING", ...); others, and where there is no Slurm, none.

    Args:
        ids: "12", or "12_3" for a task of an array.

    Raises:
        SilentError: Slurm's controller does not answer.
    """
    wanted = set(ids)
    if not wanted or shutil.which("squeue") is None:
        return {}
    found: dict[str, str] = {}
    for array in sorted({one.partition("_")[0] for one in wanted}):
        done = _asked(["squeue", "--noheader", "--array", f"--jobs={array}", "--format=%i %T"])
        if done.returncode and _GONE not in done.stderr:
            raise SilentError(done.stderr.strip())
        found |= dict(line.split() for line in done.stdout.splitlines() if len(line.split()) == 2)
    return {one: state for one, state in found.items() if one in wanted}


def write_ticket(folder: Path, job_id: str, sweep: str) -> None:
    """Leave word in a run folder that a job is queued for it.

    Raises:
        RunError: the folder cannot be written.
    """
    atomic_write(folder / TICKET, (json.dumps({"job_id": job_id, "sweep": sweep}) + "\n").encode())


def ticket(folder: Path) -> str | None:
    """The job that was last queued for a run."""
    try:
        return str(json.loads((folder / TICKET).read_text(encoding="utf-8"))["job_id"])
    except (OSError, ValueError, LookupError, TypeError):
        return None


def _asked(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        return subprocess.CompletedProcess(command, 1, "", str(error))
