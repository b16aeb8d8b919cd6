"""The configuration that a finished run keeps, fit to be used again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from negprompt.errors import RunError


def stored_config(run: Path) -> dict[str, Any]:
    """A run's config.yaml, with what it read from elsewhere taken from the run itself.

    Raises:
        RunError: it is damaged.
    """
    stored = run / "config.yaml"
    try:
        base: dict[str, Any] = dict(yaml.safe_load(stored.read_text(encoding="utf-8")))
    except (yaml.YAMLError, TypeError, ValueError) as error:
        msg = f"{stored} is damaged: delete the run's folder and make the run again."
        raise RunError(msg) from error
    lacking = [group for group in ("backbone", "data", "ood", "method", "trainer", "paths") if group not in base]
    if lacking:
        msg = f"{stored} lacks {', '.join(lacking)}: it is not the configuration of a run of this version."
        raise RunError(msg)
    if "adapter" in base["method"]:  # what it was made from need not be here any more
        base["method"] = base["method"] | {"adapter": str(run)}
    if base["method"].get("prompt_templates") is not None:  # perhaps a file; the bundle has its lines
        base["method"] = {**base["method"], "prompt_templates": None}
    return base


def moved_along(config: dict[str, Any], run: Path) -> dict[str, Any]:
    """The same configuration with the paths that lay below its runs_dir where the run lies now.

    Args:
        config: of a run.
        run: its folder, `<runs_dir>/<benchmark>/<method>/<backbone>/<name>`.
    """
    here, before = run.resolve().parents[3], config["paths"]["runs_dir"]
    paths = {
        name: str(here / Path(value).relative_to(before))
        if isinstance(value, str) and Path(value).is_relative_to(before)
        else value
        for name, value in config["paths"].items()
    }
    return config | {"paths": paths}
