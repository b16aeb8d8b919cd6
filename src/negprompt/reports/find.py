"""Which folders a report is made of: those of finished runs, and why others were left out."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from negprompt.errors import RunError
from negprompt.runs.folder import DONE, FAILED

METRICS_FILE = "metrics.json"
SCHEMA = 1
_CONFIG, _MEMBERS = "config.yaml", "members.json"
_NEEDED = (
    *("benchmark", "method", "backbone", "num_shots", "class_fraction", "num_negatives", "class_names_sha256"),
    *("split_sha256", "weights_sha256", "seed", "id_accuracy", "scores"),
)


class Found(NamedTuple):
    """Contents of the metrics.json of finished runs, each with its folder under "run"; folders left out and why."""

    rows: list[dict[str, Any]]
    skipped: tuple[tuple[str, str], ...]


def find_runs(runs: str | Path | Sequence[str]) -> Found:
    """Read the metrics of all finished runs.

    Args:
        runs: a folder that holds run folders at any depth, a run folder, the folder of a sweep (its members), a
            pattern with * that matches such folders, or several of these. What lies in folders whose names begin
            with _ is left out, for example replaced runs in `_superseded`, unless such a folder is named itself.

    Returns:
        Runs in the order of their folders' names.

    Raises:
        RunError: nothing is there, or nothing that is finished; the message says what was found instead.
    """
    wanted = [str(runs)] if isinstance(runs, str | Path) else list(runs)
    places = [place for one in wanted for place in _places(one)]
    rows, skipped = [], []
    for folder in dict.fromkeys(run for place in places for run in _run_folders(place)):
        content, reason = _read(folder)
        if content is None:
            skipped.append((folder.as_posix(), reason))
        else:
            rows.append(content | {"run": folder.as_posix()})
    if not rows:
        raise RunError(_nothing(", ".join(wanted), skipped))
    return Found(rows, tuple(skipped))


def _places(runs: str) -> list[Path]:
    if Path(runs).is_dir():
        return [Path(runs)]
    if any(mark in runs for mark in "*?["):
        root = Path(runs).anchor
        found = sorted(match for match in Path(root).glob(runs.removeprefix(root)) if match.is_dir())
        if found:
            return found
        message = f"No folder matches {runs}: a pattern like 'runs/icons/*' matches folders of runs."
        raise RunError(message)
    message = f"There is no folder {runs}: give the folder that holds the runs (runs=DIR)."
    raise RunError(message)


def _run_folders(place: Path) -> Iterator[Path]:
    """Folders that are runs or were begun as one, below a folder or named by a sweep, in order."""
    if (place / _MEMBERS).is_file():
        members = json.loads((place / _MEMBERS).read_text(encoding="utf-8"))["members"]
        yield from (Path(member["folder"]) for member in members)
        return
    for folder, below, files in os.walk(place):
        if DONE in files or FAILED in files or _CONFIG in files:
            below.clear()  # what a run folder holds is its own: checkpoints, evaluations
            yield Path(folder)
        else:
            below[:] = sorted(name for name in below if not name.startswith("_"))


def _read(folder: Path) -> tuple[dict[str, Any] | None, str]:
    """What a run measured, or why that cannot be said."""
    path = folder / METRICS_FILE
    if not (folder / DONE).is_file():
        return None, _unfinished(folder)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None, f"is marked {DONE} but has no {METRICS_FILE}"
    except (OSError, ValueError) as error:
        return None, f"{METRICS_FILE} cannot be read ({error}): delete the folder and run the command again"
    if not isinstance(content, dict) or content.get("schema") != SCHEMA:
        found = content.get("schema") if isinstance(content, dict) else type(content).__name__
        return None, f"{METRICS_FILE} has schema {found}, this version reads schema {SCHEMA}: evaluate the run again"
    missing = [key for key in _NEEDED if key not in content]
    if missing:
        return None, f"{METRICS_FILE} lacks {', '.join(missing)}: delete the folder and run the command again"
    means = {"mean", *content.get("groups", ())}
    if not any(sets.keys() - means for sets in content["scores"].values()):
        return None, "was tested on no OOD picture (ood=none)"
    return content, ""


def _unfinished(folder: Path) -> str:
    if not folder.is_dir():
        return "is not there (a member of the sweep that has not begun)"
    try:
        return f"failed: {json.loads((folder / FAILED).read_text(encoding='utf-8'))['message']}"
    except (OSError, ValueError, KeyError, TypeError):
        return f"is not finished: it has no {DONE}"


def _nothing(runs: str, skipped: list[tuple[str, str]]) -> str:
    text = f"No finished run in {runs}: a run counts once its folder holds {DONE}."
    for folder, reason in skipped[:5]:
        text += f"\n  {folder} {reason}"
    return text + (f"\n  and {len(skipped) - 5} more" if len(skipped) > 5 else "")
