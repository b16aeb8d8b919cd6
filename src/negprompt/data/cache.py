"""Small files that save work and are no results: missing, damaged or unwritable, a run goes on without them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from negprompt.errors import NegPromptError
from negprompt.runs.folder import atomic_write

log = logging.getLogger(__name__)

ELSEWHERE = "paths.cache_dir=<folder of yours>"
_said: set[str] = set()
"""Folders whose trouble was said already."""


def read_arrays(path: Path) -> dict[str, Any] | None:
    """Arrays of an .npz file by name; None where there is none, or a damaged one."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except (FileNotFoundError, NotADirectoryError):
        return None
    except PermissionError as error:
        _say_once(str(path.parent), f"{path} cannot be read ({error.strerror}): set another {ELSEWHERE}.")
        return None
    except Exception as error:  # noqa: BLE001 -- zip, zlib and numpy each have their own way to say "damaged"
        log.warning("%s is damaged (%s) and is made again", path, error)
        return None


def write_arrays(path: Path, arrays: Mapping[str, Any]) -> None:
    """Write an .npz file, whole or not at all; a folder that cannot be written is said once and costs time only."""
    try:
        atomic_write(path, lambda file: np.savez(file, **arrays), ELSEWHERE)
    except NegPromptError as error:
        _say_once(str(path.parent), str(error))


def _say_once(folder: str, reason: str) -> None:
    if folder not in _said:
        _said.add(folder)
        log.warning("%s What would be remembered in %s is looked at again in every run.", reason, folder)
