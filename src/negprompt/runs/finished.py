"""Finished runs: found by the path a user gives, and looked at before one is used again or put aside."""

from __future__ import annotations

import json
import logging
import zipfile
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

from negprompt.errors import RunError, nearest
from negprompt.runs import owner
from negprompt.runs.folder import DONE, FAILED, REQUIRED_FILES, RunFolder, explained, read_json

SUPERSEDED = "_superseded"
"""Folder below `paths.runs_dir` with the runs that `resume=never` has replaced."""

IMPORTED = "imported.json"
"""File of a folder with imported prompts, written last; like a run it can be evaluated, but it has no metrics."""

_NEEDED_OF_IMPORTED = ("config.yaml", "prompts.safetensors")

_BEGUN_BY = ".begun_by"
"""File of a run folder with the Slurm job that made it anew."""

log = logging.getLogger(__name__)


class Expected(NamedTuple):
    """What a run must have been made from to stand for a request."""

    weights_sha256: str
    split_sha256: str


def reusable(folder: Path, expected: Expected, fix: str) -> dict[str, Any]:
    """Metrics of a finished run that stands for a request.

    Another version of this package is only said: what changes results has a number of its own in the request's hash.

    Args:
        folder: the run folder.
        expected: hashes of the request's weights and pictures.
        fix: what to do where the run does not fit, for the message.

    Raises:
        RunError: files are missing or damaged, or it was made from other weights or pictures.
    """
    if broken := _broken(folder):
        msg = f"The run in {folder} is marked {DONE}, but {broken}: {fix}."
        raise RunError(msg)
    metrics = read_json(folder / "metrics.json")
    for name, wanted in expected._asdict().items():
        if metrics.get(name) != wanted:
            what = "weights" if name == "weights_sha256" else "pictures (split)"
            found = str(metrics.get(name))[:8]
            msg = f"The run in {folder} was made from other {what}: {name} is {found} there, {wanted[:8]} here: {fix}."
            raise RunError(msg)
    made_by, ours = _version_of(folder), metadata.version("negprompt")
    if made_by != ours:
        log.warning("%s was made by negprompt %s, this is %s: used as it is; %s to be sure", folder, made_by, ours, fix)
    return metrics


def _broken(folder: Path) -> str | None:
    for name in ("config.yaml", "prompts.safetensors", "scores.npz"):
        path = folder / name
        if not path.is_file() or not path.stat().st_size:
            return f"{name} is missing or empty"
    if not zipfile.is_zipfile(folder / "scores.npz"):
        return "scores.npz is damaged"
    return None if read_json(folder / "metrics.json") else "metrics.json is missing or damaged"


def _version_of(folder: Path) -> str:
    versions = read_json(folder / "provenance.json").get("versions")
    return str(versions.get("negprompt", "unknown")) if isinstance(versions, dict) else "(unknown)"


def begin_anew(folder: RunFolder, runs_dir: Path) -> None:
    """Put away what is in a run folder, for `resume=never`, and note in the new one which job began it.

    Args:
        folder: of a run below `runs_dir`; nobody else may work in it.
        runs_dir: the folder of all runs.

    Raises:
        RunError: it cannot be moved or made.
    """
    if (aside := _move_aside(folder.path, runs_dir)) is not None:
        log.info("resume=never: the run that was in %s is now in %s", folder.path, aside)
    folder.create()
    if (job := owner.this_job()) is not None:
        folder.write_bytes(_BEGUN_BY, job.encode())


def _move_aside(folder: Path, runs_dir: Path) -> Path | None:
    """Put a run away whole, by one rename; None where there was nothing."""
    with explained(folder):
        if not folder.is_dir() or not any(folder.iterdir()):
            return None
        place = runs_dir / SUPERSEDED / folder.relative_to(runs_dir)
        place.parent.mkdir(parents=True, exist_ok=True)
        number = 1
        while (aside := place.with_name(f"{place.name}-{number}")).exists():
            number += 1
        folder.rename(aside)
    return aside


def was_begun_anew(folder: Path) -> bool:
    """Whether this job made the folder anew before Slurm queued it again: then it must not lose what it did."""
    try:
        return owner.is_queued_again() and (folder / _BEGUN_BY).read_text(encoding="utf-8") == owner.this_job()
    except OSError:
        return False


def find_run(path: str | Path) -> RunFolder:
    """The finished run, or the imported prompts, that `path` names: its folder, or any file in it.

    Raises:
        RunError: nothing is there, or what is there is not a finished run; the message says what is missing.
    """
    given = Path(path)
    if not given.exists():
        raise RunError(_not_there(given))
    folder = next((p for p in (given, *given.parents[:2]) if p.is_dir() and _looks_like_run(p)), None)
    if folder is None:
        raise RunError(_not_a_run(given))
    mark = next((name for name in (DONE, IMPORTED) if (folder / name).is_file()), None)
    if mark is None:
        raise RunError(_unfinished(folder))
    needed = REQUIRED_FILES if mark == DONE else _NEEDED_OF_IMPORTED
    missing = [name for name in needed if not (folder / name).is_file()]
    if missing:
        msg = f"{folder} is marked {mark} but lacks {', '.join(missing)}: delete the folder and run the command again."
        raise RunError(msg)
    return RunFolder(folder)


def _looks_like_run(folder: Path) -> bool:
    return any((folder / name).is_file() for name in (DONE, IMPORTED, FAILED, *REQUIRED_FILES))


def _not_there(path: Path) -> str:
    parent = path.parent
    beside = [entry.name for entry in parent.iterdir()] if parent.is_dir() else []
    hint = f"; in {parent}, {nearest(path.name, beside)}" if 0 < len(beside) <= 20 else ""
    return f"There is no run at {path}{hint}. Give a run folder or a file in it."


def _not_a_run(path: Path) -> str:
    folder = path if path.is_dir() else path.parent
    inside = sorted(str(done.parent) for done in folder.rglob(DONE)) if path.is_dir() else []
    if inside:
        more = f" and {len(inside) - 3} more" if len(inside) > 3 else ""
        return f"{path} is not a run but holds some: choose one of {', '.join(inside[:3])}{more}."
    return f"{folder} is not a run folder: it has no {DONE}, {' or '.join(REQUIRED_FILES)}."


def _unfinished(folder: Path) -> str:
    again = "Run the same command again to continue it."
    try:
        failure = json.loads((folder / FAILED).read_text(encoding="utf-8"))
        return f"The run in {folder} failed in {failure['stage']}: {failure['message']} {again}"
    except (OSError, ValueError, LookupError, TypeError):
        return f"The run in {folder} is not finished: {DONE} is missing. {again}"
