"""What Slurm's own commands tell of a cluster: partitions, preemption, whether a job hears of it in time."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from typing import Any

from negprompt.cli.health.finding import Finding
from negprompt.cli.sweep.slurm import minutes
from negprompt.errors import nearest

_SECONDS = 20
_FORWARDS = {"SlurmctldParameters": "preempt_send_user_signal", "PreemptParameters": "send_user_signal"}
"""Where Slurm says that preemption sends a job's own signal: up to 22.05, and after."""
_UP = "UP"


class NoAnswerError(Exception):
    """Slurm's commands are here, but its controller says nothing."""


def findings(launcher: Mapping[str, Any]) -> Iterator[Finding]:
    """All that is known of the cluster.

    Args:
        launcher: the node of the settings; empty where they have none.
    """
    wanted = launcher.get("name") == "slurm"
    if shutil.which("scontrol") is None:
        fix = "submit from a login node of the cluster, or set launcher=joblib" if wanted else ""
        yield Finding("Slurm", "missing" if wanted else "note", "not on this machine", fix)
        return
    try:
        config = settings_of(_asked("show", "config"))
        partitions = [settings_of(line) for line in _asked("show", "partition", "--oneliner").splitlines()]
    except NoAnswerError as error:
        state, fix = ("missing", "ask for its state, or set launcher=joblib") if wanted else ("warning", "")
        yield Finding("Slurm", state, f"its controller does not answer ({error})", fix)  # type: ignore[arg-type]
        return
    yield Finding("Slurm", "ok", f"{config.get('SLURM_VERSION', '?')}, cluster {config.get('ClusterName', '?')}")
    yield from (_partition(one) for one in partitions)
    yield from _fits(launcher if wanted else {}, partitions)
    yield from _preemption(config, partitions)
    yield _requeue(config)


def settings_of(text: str) -> dict[str, str]:
    """`key=value` and `key = value` words of scontrol.

    Example:
        >>> settings_of("PartitionName=low MaxTime=01:00:00 State=UP")["MaxTime"]
        '01:00:00'
        >>> settings_of("PreemptType             = preempt/none")
        {'PreemptType': 'preempt/none'}
    """
    return dict(re.findall(r"(?m)(\w+)[ ]*=[ ]?(\S*)", text))


def _asked(*words: str) -> str:
    try:
        done = subprocess.run(["scontrol", *words], capture_output=True, text=True, check=False, timeout=_SECONDS)
    except (OSError, subprocess.SubprocessError) as error:
        raise NoAnswerError(type(error).__name__) from error
    if done.returncode:
        raise NoAnswerError(done.stderr.strip().rpartition("\n")[2] or f"exit code {done.returncode}")
    return done.stdout


def _partition(one: Mapping[str, str]) -> Finding:
    name = one.get("PartitionName", "?") + (" (default)" if one.get("Default") == "YES" else "")
    text = (
        f"{one.get('State', '?')}, {one.get('TotalNodes', '?')} nodes, {one.get('TotalCPUs', '?')} CPUs, at most "
        f"{one.get('MaxTime', '?')}, preemption {one.get('PreemptMode', '?')}"
    )
    return Finding(f"partition {name}", "ok" if one.get("State") == _UP else "warning", text)


def _fits(launcher: Mapping[str, Any], partitions: list[dict[str, str]]) -> Iterator[Finding]:
    """Whether the settings' partitions are there, and give the time that is asked for."""
    known = {one.get("PartitionName", ""): one for one in partitions}
    asked = str(launcher.get("partition") or "")
    default = [name for name, one in known.items() if one.get("Default") == "YES"]
    if launcher and not asked and not default:
        yield Finding("launcher.partition", "missing", "null, and this cluster has no default", nearest("", known))
    names = [name for name in (asked.split(",") if asked else default) if launcher]
    for name in names:
        if name not in known:
            yield Finding("launcher.partition", "missing", f"no partition {name!r} here", nearest(name, known))
    limits = [minutes(known[name].get("MaxTime", "")) for name in names if name in known]
    wanted = launcher.get("timeout_min") or 0
    if limits and (limit := max(limits)) < wanted:  # Slurm takes the one that fits
        text = f"{wanted} minutes, and {','.join(names)} gives at most {limit:.0f}: such a job would wait for ever"
        yield Finding("launcher.timeout_min", "missing", text, f"launcher.timeout_min={limit:.0f}")


def _preemption(config: Mapping[str, str], partitions: list[dict[str, str]]) -> Iterator[Finding]:
    kind, mode = config.get("PreemptType", "?"), config.get("PreemptMode", "?")
    if kind == "preempt/none":
        yield Finding("preemption", "ok", "none")
        return
    yield Finding("preemption", "note", f"{kind}, {mode}")
    if any(word in config.get(key, "") for key, word in _FORWARDS.items()):
        yield Finding("signal on preemption", "ok", "forwarded: a job hears of it and saves at its next step")
        return
    grace = [one["PartitionName"] for one in partitions if one.get("GraceTime", "0") != "0"]
    more = f", after the grace time of {', '.join(grace)}" if grace else ""
    text = f"not forwarded: a job gets SIGTERM, saves at its next step, and has {config.get('KillWait', '?')} s{more}"
    yield Finding("signal on preemption", "note", text)


def _requeue(config: Mapping[str, str]) -> Finding:
    if config.get("JobRequeue") == "1":
        return Finding("requeue", "ok", "jobs are queued again after preemption and node failure")
    return Finding("requeue", "note", "only jobs that ask for it are (launcher=slurm does; sbatch --requeue)")
