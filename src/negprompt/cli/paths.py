"""Where the yaml files lie: inside an installed package, or beside `src/` in a checkout."""

from __future__ import annotations

from pathlib import Path

from negprompt.errors import ConfigError


def conf_dir() -> Path:
    """Folder with the yaml files, as an absolute path.

    Raises:
        ConfigError: neither place has one, so the installation is damaged.
    """
    package = Path(__file__).resolve().parents[1]
    candidates = (package / "conf", package.parents[1] / "conf")
    for folder in candidates:
        if folder.is_dir():
            return folder
    msg = f"No yaml files at {' or '.join(map(str, candidates))}: install negprompt again, this copy is damaged."
    raise ConfigError(msg)


def options(group: str) -> list[str]:
    """Names of the yaml files of a group, none for what is no group of ours."""
    return sorted(path.stem for path in (conf_dir() / group).glob("*.yaml")) if group else []
