"""Which W&B run a run folder belongs to: wandb.json in it, which outlives every interruption."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from negprompt.runs.folder import atomic_write
from negprompt.tracking.settings import LoggerSettings

IDENTITY = "wandb.json"


def new_identity(settings: LoggerSettings, folder: Path) -> dict[str, Any]:
    """A new W&B run for a run folder: readable, and other than that of an earlier folder of the same name."""
    name = "-".join(folder.parts[-3:])[-100:].strip("-")
    identity = {
        "id": f"{name}-{secrets.token_hex(4)}",
        "project": settings.project,
        "entity": settings.entity,
        "finished": False,
    }
    write_identity(folder, identity)
    return identity


def read_identity(folder: Path) -> dict[str, Any] | None:
    """Content of a run folder's wandb.json, None where there is none that can be read."""
    try:
        identity = json.loads((folder / IDENTITY).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return (
        identity if isinstance(identity, dict) and {"id", "project", "entity", "finished"} <= identity.keys() else None
    )


def write_identity(folder: Path, identity: Mapping[str, Any]) -> None:
    """Write wandb.json, whole or not at all.

    Raises:
        RunError: it cannot be written.
    """
    atomic_write(folder / IDENTITY, (json.dumps(identity, indent=1) + "\n").encode())
