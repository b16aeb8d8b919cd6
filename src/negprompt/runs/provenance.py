"""What may differ between two equal runs: times, machine, versions."""

from __future__ import annotations

import datetime
import platform
import resource
import subprocess
import sys
from collections.abc import Mapping
from importlib import metadata
from typing import Any

PACKAGES = ("negprompt", "torch", "lightning", "open_clip_torch", "hydra-core", "torchmetrics", "webdataset")


def provenance(
    seconds: Mapping[str, float], command: str, device: str, device_bytes: int | None = None
) -> dict[str, Any]:
    """Content of provenance.json.

    Args:
        seconds: wall time of each phase.
        command: command line of the run.
        device: what it ran on.
        device_bytes: most memory that was allocated on an accelerator, None where there was none.
    """
    return {
        "seconds": dict(seconds),
        "peak_memory_bytes": {"process": peak_bytes(), "device": device_bytes},
        "command": command,
        "device": device,
        "host": platform.node(),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "versions": {package: metadata.version(package) for package in PACKAGES},
        "git_commit": git_commit(),
        "finished": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def peak_bytes() -> int:
    """Most memory that this process had in RAM, all it did before the run included."""
    unit = 1 if sys.platform == "darwin" else 1024  # getrusage counts bytes there, kibibytes elsewhere
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def git_commit() -> str | None:
    """Commit of the working folder, None outside a repository."""
    try:
        done = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
