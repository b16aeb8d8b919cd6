"""What Slurm says: which partitions there are, and which jobs wait or run. Through its own commands, no accounting."""

from __future__ import annotations

import json
import math
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


def check(partition: str | None, timeout_min: int) -> None:
    """Make sure that jobs can be submitted here, and would not wait for ever.

    Args:
        partition: names as sbatch takes them, None for the cluster's default.
        timeout_min: a job's time limit in minutes.

    Raises:
        ConfigError: no Slurm on this machine, no such partition, or a shorter limit in all of them.
    """
    if shutil.which("sbatch") is None or shutil.which("srun") is None:
        msg = "launcher=slurm: there is no sbatch on this machine. Submit from a login node, or set launcher=joblib."
        raise ConfigError(msg)
    if shutil.which("sinfo") is None:
        return
    done = _asked(["sinfo", "--noheader", "--format=%P %l"])
    if done.returncode:
        msg = f"launcher=slurm: sinfo failed ({done.stderr.strip()}). Is Slurm's controller up?"
        raise ConfigError(msg)
    limits = dict(line.split() for line in done.stdout.splitlines() if line.strip())
    known = {name.rstrip("*"): minutes(limit) for name, limit in limits.items()}
    chosen = partition.split(",") if partition else [name[:-1] for name in limits if name.endswith("*")]
    for name in chosen:
        if name not in known:
            msg = f"launcher.partition={name}: unknown on this cluster; {nearest(name, known)}."
            raise ConfigError(msg)
    longest = max((known[name] for name in chosen), default=math.inf)
    if timeout_min > longest:
        msg = (
            f"launcher.timeout_min={timeout_min}: partition {','.join(chosen)} allows {longest:.0f} minutes. Set that "
            "or less; a job that reaches its limit saves, and is queued again."
        )
        raise ConfigError(msg)


def minutes(limit: str) -> float:
    """A time limit as Slurm writes it, in minutes; infinite for none.

    Example:
        >>> [minutes(limit) for limit in ("30:00", "2:00:00", "1-12:00:00", "infinite", "n/a")]
        [30.0, 120.0, 2160.0, inf, inf]
    """
    days, dash, clock = limit.rpartition("-")
    parts = clock.split(":")
    if not all(part.isdigit() for part in parts):
        return math.inf
    if dash:
        parts += ["0"] * (3 - len(parts))  # after days the first part is hours
    seconds: int = sum(int(part) * 60**place for place, part in enumerate(reversed(parts)))
    return 1440 * int(days or 0) + seconds / 60


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
