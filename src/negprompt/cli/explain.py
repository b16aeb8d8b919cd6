"""Hydra's, OmegaConf's and pydantic's errors in one line: what was given, what is allowed, the nearest match."""

from __future__ import annotations

from hydra.errors import MissingConfigException
from omegaconf import DictConfig
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, MissingMandatoryValue, OmegaConfBaseException
from pydantic import ValidationError

from negprompt.cli.paths import conf_dir
from negprompt.errors import ConfigError, nearest


def explain(error: BaseException) -> str:
    """One readable message for an error of the configuration."""
    if isinstance(error, MissingConfigException) and error.missing_cfg_file is not None:
        return _missing_option(str(error.missing_cfg_file))
    cause = error if isinstance(error, OmegaConfBaseException) else error.__cause__
    if isinstance(cause, ConfigKeyError | ConfigAttributeError):
        return _unknown_key(cause)
    if isinstance(cause, MissingMandatoryValue):
        return f"{cause.full_key} is missing: set {cause.full_key}=..."
    return " ".join(str(error).split("Set the environment variable HYDRA_FULL_ERROR")[0].split())


def _missing_option(file: str) -> str:
    group, _, option = file.rpartition("/")
    options = [path.stem for path in (conf_dir() / group).glob("*.yaml")]
    return f"{group}={option}: unknown; {nearest(option, options)}."


def _unknown_key(error: OmegaConfBaseException) -> str:
    siblings = list(error.parent_node or {}) if isinstance(error.parent_node, DictConfig) else []
    known = [str(key) for key in siblings if not str(key).startswith("_")]
    return f"unknown setting {error.full_key!r}; {nearest(str(error.key), known)}."


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
