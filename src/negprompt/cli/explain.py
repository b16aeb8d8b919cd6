"""Hydra's, OmegaConf's and pydantic's errors in one line: what was given, what is allowed, the nearest match."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, get_args

from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, MissingMandatoryValue, OmegaConfBaseException
from pydantic import ValidationError

from negprompt.cli.paths import options
from negprompt.errors import ConfigError, NegPromptError, nearest
from negprompt.settings import Settings


def explain(error: BaseException) -> str:
    """One readable message for whatever ended a command."""
    if isinstance(error, NegPromptError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    if not isinstance(error, HydraException | OmegaConfBaseException):
        return f"{type(error).__name__}: {error} (HYDRA_FULL_ERROR=1 shows where)"
    if isinstance(error, MissingConfigException) and error.missing_cfg_file is not None:
        return _missing_option(str(error.missing_cfg_file))
    cause = error if isinstance(error, OmegaConfBaseException) else error.__cause__
    if isinstance(cause, ConfigKeyError | ConfigAttributeError):
        return _unknown_key(cause)
    if isinstance(cause, MissingMandatoryValue):
        return _missing(str(cause.full_key))
    if isinstance(cause, OmegaConfBaseException) and cause.full_key:
        return f"{cause.full_key}: {str(cause).splitlines()[0]}."
    return " ".join(str(error).split("Set the environment variable HYDRA_FULL_ERROR")[0].split())


def config_error(error: ValidationError, prefix: str, cls: type[Settings]) -> ConfigError:
    """The first refused value of a settings node, as `group.key=value: reason`.

    Args:
        error: what pydantic found.
        prefix: of the node, for example "method.positive".
        cls: of the node.
    """
    details = error.errors()
    detail = next((one for one in details if one["type"] != "missing"), details[0])
    place = ".".join([prefix, *map(str, detail["loc"])]).strip(".")
    if detail["type"] == "extra_forbidden":
        return ConfigError(f"unknown setting {place!r}; {nearest(str(detail['loc'][-1]), _names(cls, detail['loc']))}.")
    if detail["type"] == "missing":
        return ConfigError(_missing(place))
    given = detail["input"]
    if isinstance(given, Mapping):
        return ConfigError(f"{place} is a group of settings ({', '.join(map(str, given))}): one value is wanted there.")
    return ConfigError(f"{place}={_as_typed(given)}: {_reason(detail, place)}.")


def _as_typed(value: object) -> str:
    """A value as it is written on the command line."""
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    return f"[{','.join(map(_as_typed, value))}]" if isinstance(value, list) else str(value)


def _reason(detail: Mapping[str, Any], place: str) -> str:
    if detail["type"] == "literal_error":
        allowed = [text or number for text, number in re.findall(r"'([^']*)'|(-?\d+)", detail["ctx"]["expected"])]
        return f"should be {allowed[0]}" if len(allowed) == 1 else f"unknown; {nearest(str(detail['input']), allowed)}"
    if detail["type"] in ("model_type", "dict_type"):
        return f"should stay a group of settings; set its parts, {place}.<name>=<value>"
    if detail["type"] == "list_type":
        return f"should be a list, as in {place}=[{detail['input']}]"
    return str(detail["msg"]).removeprefix("Input ")


def _names(cls: type[Settings], path: Sequence[int | str]) -> list[str]:
    """Settings that may stand where the last part of `path` stands."""
    for key in path[:-1]:
        annotation = cls.model_fields[str(key)].annotation
        cls = next(kind for kind in (annotation, *get_args(annotation)) if hasattr(kind, "model_fields"))
    return list(cls.model_fields)


def _missing(place: str) -> str:
    return f"{place} is missing: set {place}=..."


def _missing_option(file: str) -> str:
    group, _, option = file.rpartition("/")
    known = options(group)
    return f"{group}={option}: unknown; {nearest(option, known)}." if known else f"{group}={option}: unknown."


def _unknown_key(error: OmegaConfBaseException) -> str:
    siblings = list(error.parent_node or {}) if isinstance(error.parent_node, DictConfig) else []
    known = [str(key) for key in siblings if not str(key).startswith("_") and key != "hydra"]
    place = str(error.full_key)
    if not known:
        parent = place.rpartition(".")[0]
        return f"unknown setting {place!r}: {parent} has no settings in this configuration."
    return f"unknown setting {place!r}; {nearest(str(error.key), known)}."
