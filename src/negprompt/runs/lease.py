"""Who works in a run folder right now."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import NamedTuple

FOLDER = ".lease"
EXPIRY_S = 300.0
"""A lease without a heartbeat for that long is dead."""


class Holder(NamedTuple):
    """The process that holds a run folder."""

    host: str
    pid: int
    job_id: str | None
    restart: int


def holder(folder: Path) -> Holder | None:
    """The live holder of a run folder, None where nobody works in it."""
    leases = sorted((folder / FOLDER).glob("*.json"), key=lambda path: int(path.stem))
    try:
        content = json.loads(leases[-1].read_text(encoding="utf-8"))
        if time.time() - leases[-1].stat().st_mtime > EXPIRY_S:
            return None
        return Holder(content["host"], content["pid"], content.get("job_id"), content.get("restart", 0))
    except (OSError, ValueError, LookupError, TypeError):
        return None
