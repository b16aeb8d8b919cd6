"""Hydra overrides -> plain dictionaries, without running anything."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import hydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from negprompt.cli.paths import conf_dir

_SWEEP_FLAGS = ("--multirun", "-m")


def configurations(name: str, arguments: Sequence[str]) -> list[dict[str, Any]]:
    """Configurations of all runs that the arguments ask for, composed as Hydra will compose them."""
    overrides, search_path = _split(arguments)
    parsed = OverridesParser.create().parse_overrides(overrides)
    sweeping = any(flag in arguments for flag in _SWEEP_FLAGS)
    choices = [
        [f"{override.get_key_element()}={value}" for value in override.sweep_string_iterator()]
        if sweeping and override.is_sweep_override()
        else [text]
        for override, text in zip(parsed, overrides, strict=True)
    ]
    with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3", job_name=name):
        return [
            plain(hydra.compose(name, [*search_path, *member], return_hydra_config=False))
            for member in itertools.product(*choices)
        ]


def _split(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Overrides, and the search path that --config-dir adds."""
    overrides: list[str] = []
    search_path: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        key, _, value = argument.partition("=")
        if key in ("--config-dir", "-cd"):
            search_path = [f"hydra.searchpath=[file://{value or next(rest, '')}]"]
        elif not argument.startswith("-"):
            overrides.append(argument)
    return overrides, search_path


def plain(config: DictConfig) -> dict[str, Any]:
    """A composed configuration as plain dictionaries, interpolations resolved; a missing value is an error."""
    container = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    return {str(key): value for key, value in dict(container).items()}  # type: ignore[arg-type]
