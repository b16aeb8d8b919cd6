"""One trial of a search: its runs in processes of their own, and what they measured."""

from __future__ import annotations

import json
import re
import signal
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from negprompt.cli import exit_codes
from negprompt.cli.sweep import children
from negprompt.runs.finished import find_run

BUSY_SECONDS = 10.0
"""Time between two looks at a run that another process has."""

_POLL = 0.05
_FOLDER = re.compile(r"^(?:written to|reused) (?P<folder>.+)$", re.MULTILINE)


class Measured(NamedTuple):
    """The mean of a metric over runs, None where one of them failed, with its error; means of all metrics as notes."""

    value: float | None
    notes: dict[str, Any]
    error: str = ""


class Ended(NamedTuple):
    """A run that ended: its exit code and all that it said."""

    code: int
    said: str


def measured(
    words: Sequence[str],
    seeds: Sequence[int],
    metric: str,
    values: Callable[[Mapping[str, Any]], dict[str, float]],
    logs: Path,
) -> Measured:
    """Run one set of settings with each seed.

    Args:
        words: overrides of `train`.
        seeds: one run each.
        metric: the one that counts.
        values: metrics.json -> metrics of the score that counts.
        logs: beginning of the path of what each run says.

    Raises:
        KeyboardInterrupt: this process or a run was told to stop; the trial is not decided.
    """
    runs: list[dict[str, float]] = []
    folders: list[str] = []
    for seed in seeds:
        log = logs.with_name(f"{logs.name}_seed{seed}.log")
        while (
            ended := run([*words, f"seed={seed}"], log)
        ).code == exit_codes.BUSY:  # for example one that a kill has left
            time.sleep(BUSY_SECONDS)
        if ended.code in children.STOPPED:
            raise KeyboardInterrupt
        if ended.code:
            return Measured(None, {"runs": folders}, f"seed={seed}: {_reason(ended)}")
        folder = find_run(_FOLDER.findall(ended.said)[-1]).path
        folders.append(str(folder))
        runs.append(values(json.loads((folder / "metrics.json").read_text(encoding="utf-8"))))
    means = {key: statistics.fmean(one[key] for one in runs) for key in runs[0]}
    return Measured(means[metric], {"runs": folders, "metrics": means})


def run(words: Sequence[str], log: Path) -> Ended:
    """`negprompt train <words>` in a process of its own, which a signal to this one ends too, after it has saved.

    Args:
        words: overrides and flags.
        log: file for what it says.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        # Ctrl-C of a terminal reaches this process alone, which hands it on once.
        child = children.start(["train", *words], environment={}, output=output, own_session=True)
        try:
            code = _ended(child)
        except BaseException:
            child.send_signal(signal.SIGTERM)
            _saved(child)
            raise
    return Ended(code, log.read_text(encoding="utf-8", errors="replace"))


def _ended(child: children.Child) -> int:
    while (code := child.poll()) is None:
        time.sleep(_POLL)
    return code


def _saved(child: children.Child) -> None:
    """Let a run save; a second Ctrl-C ends it at once."""
    try:
        _ended(child)
    except BaseException:
        child.kill()
        raise


def _reason(ended: Ended) -> str:
    """Why a run failed, in its own words where it had any."""
    if ended.code < 0:
        return f"killed by {signal.Signals(-ended.code).name}"
    lines = [line for line in ended.said.splitlines() if line.strip()]
    own = [line.partition(": ")[2] for line in lines if line.startswith("negprompt train: ")]
    return own[-1] if own else f"exit code {ended.code}: {lines[-1] if lines else 'it said nothing'}"
