"""Overrides -> plain dictionaries, composed as Hydra will compose them, without running anything."""

from __future__ import annotations

import itertools
import sys
from typing import Any, NamedTuple

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict

from negprompt.cli.arguments import Arguments
from negprompt.cli.paths import conf_dir, options
from negprompt.errors import ConfigError, nearest

_OF_A_SWEEP = ("sweep", "launcher")
_ABOUT_SWEEPS = ("doctor",)  # it looks at what a sweep would need, and starts nothing
"""Groups that say what a sweep goes over and how, and nothing about a run."""


class Composed(NamedTuple):
    """One run that a command line asks for: its own overrides, and the configuration they make, Hydra's part apart."""

    overrides: tuple[str, ...]
    config: DictConfig
    hydra: DictConfig

    @classmethod
    def of(cls, name: str, search_path: list[str], overrides: tuple[str, ...]) -> Composed:
        """Let Hydra compose the yaml of a command."""
        config = hydra.compose(name, [*search_path, *overrides], return_hydra_config=True)
        with open_dict(config):
            _keep_named_scores(config, overrides)
            return cls(overrides, config, config.pop("hydra"))


def _keep_named_scores(config: DictConfig, overrides: tuple[str, ...]) -> None:
    """What `auto` may leave out does not include the scores that stand beside it by name: score=[auto,gl_mcm]."""
    for text in overrides:
        key, _, value = text.partition("=")
        if key in ("score", "stage_score") and (node := config.get(key)) and node.get("auto"):
            named = value.strip("[]").replace(" ", "").split(",")
            node.auto = [name for name in node.auto if name not in named]


def compositions(name: str, arguments: Arguments) -> list[DictConfig]:
    """Configurations of all runs that the arguments ask for; errors as in `members`."""
    return [member.config for member in members(name, arguments)]


def members(name: str, arguments: Arguments) -> list[Composed]:
    """All runs that the arguments ask for: the product of their lists and of those that `hydra.sweeper.params` brings.

    Raises:
        ConfigError: an override that cannot be read, or a list of values without --multirun.
        HydraException: an unknown group or key.
    """
    folder = arguments.flags.get("--config-dir")
    search_path = [f"hydra.searchpath=[file://{folder}]"] if folder else []
    if folder and folder not in sys.path:
        sys.path.append(folder)  # its yaml may name code that lies beside it
    with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3", job_name=name):
        for text in arguments.overrides if name not in _ABOUT_SWEEPS else ():
            _refuse_lone_sweep(text, arguments)
        choices = {_parsed(text).get_key_element(): _values(text, arguments) for text in arguments.overrides}
        if arguments.multirun:
            one = tuple(values[0] for values in choices.values())
            params = Composed.of(name, search_path, one).hydra.sweeper.params or {}
            listed = {key: _values(f"{key}={values}", arguments) for key, values in params.items()}
            choices = listed | choices  # in this order, and what is typed wins, as Hydra's own sweeper has it
        return [Composed.of(name, search_path, member) for member in itertools.product(*choices.values())]


def plain(config: DictConfig) -> dict[str, Any]:
    """A composed configuration as plain dictionaries, interpolations resolved; a missing value is an error."""
    container = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    return {str(key): value for key, value in dict(container).items()}  # type: ignore[arg-type]


def swept(overrides: tuple[str, ...]) -> tuple[str, ...]:
    """Keys of those overrides that list several values."""
    return tuple(one.get_key_element() for text in overrides if (one := _parsed(text)).is_sweep_override())


def _values(text: str, arguments: Arguments) -> list[str]:
    """One override for each value that `text` lists."""
    override = _parsed(text)
    _refuse_bad_choice(override, text)
    key, _, value = text.partition("=")
    if not override.is_sweep_override():
        return [text]
    if not arguments.multirun:
        a_list = "" if options(key) else f"; one list as a value is written {key}=[{value}]"
        msg = f"{text}: several values at once need --multirun{a_list}."
        raise ConfigError(msg)
    if key in _OF_A_SWEEP:
        msg = f"{text}: a sweep has one {key}; choose one of them."
        raise ConfigError(msg)
    return [f"{override.get_key_element()}={one}" for one in override.sweep_string_iterator()]


def _refuse_lone_sweep(text: str, arguments: Arguments) -> None:
    """What says nothing about a single run needs --multirun."""
    override = _parsed(text)
    only_sweeps = override.key_or_group in _OF_A_SWEEP and override.value() not in ("local", "none")
    if only_sweeps and not arguments.multirun and not arguments.only_shows:
        msg = f"{text}: is for a sweep, and without --multirun there is one run here: add --multirun, or leave it out."
        raise ConfigError(msg)


def _parsed(text: str) -> Override:
    loader = GlobalHydra.instance().config_loader() if GlobalHydra.instance().is_initialized() else None
    try:
        (override,) = OverridesParser.create(config_loader=loader).parse_overrides([text])
    except HydraException as error:
        msg = (
            f"{text!r} cannot be read: a setting is written key=value, for example seed=1 or score=[mcm,energy]; "
            "a value with other signs goes into quotes, and these into the shell's: \"key='a (b)'\"."
        )
        raise ConfigError(msg) from error
    return override


def _refuse_bad_choice(override: Override, text: str) -> None:
    """Groups take names: Hydra fails on null and numbers, and on a group taken away that others follow."""
    key = override.key_or_group
    known = options(key)
    if not known:
        return
    if override.is_delete():
        msg = f"{text}: a run needs its {key}; choose another one, {nearest(key, known)}."
        raise ConfigError(msg)
    if not override.is_sweep_override() and not isinstance(override.value(), str | list):
        msg = f"{text}: names no option; {nearest(str(override.value()), known)}."
        raise ConfigError(msg)
