"""Hydra's, OmegaConf's and pydantic's errors in one line: what was given, what is allowed, the nearest match."""

from __future__ import annotations

import re

from hydra.errors import MissingConfigException
from pydantic import ValidationError

from negprompt.errors import ConfigError, nearest

_OPTION = re.compile(r"Key '(?P<key>[^']+)' is not in struct\s+full_key: (?P<full>\S+)")


def explain(error: BaseException) -> str:
    """One readable message for an error of the configuration."""
    if isinstance(error, MissingConfigException) and error.missing_cfg_file is not None:
        return _missing_option(error)
    message = str(error)
    if unknown := _OPTION.search(f"{message}\n{error.__cause__ or ''}"):
        return f"unknown setting {unknown['full']!r}: no such key; `--cfg job` shows all settings."
    return " ".join(message.split("Set the environment variable HYDRA_FULL_ERROR")[0].split())


def _missing_option(error: MissingConfigException) -> str:
    group, _, option = str(error.missing_cfg_file).rpartition("/")
    return f"{group}={option}: unknown; {nearest(option, error.options or [])}."


def config_error(error: ValidationError, prefix: str) -> ConfigError:
    """The first refused value of a settings node, as `group.key=value: reason`."""
    detail = error.errors()[0]
    place = ".".join([prefix, *map(str, detail["loc"])]).strip(".")
    if detail["type"] == "extra_forbidden":
        return ConfigError(f"unknown setting {place!r}.")
    if detail["type"] == "missing":
        return ConfigError(f"{place} is missing: set {place}=...")
    given = "null" if detail["input"] is None else detail["input"]
    return ConfigError(f"{place}={given}: {detail['msg'].lower().removeprefix('input ')}.")
