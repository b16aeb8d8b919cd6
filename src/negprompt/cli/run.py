"""Run a command under Hydra: settings checked first, errors as one message, exit codes that mean something."""

from __future__ import annotations

import importlib
import itertools
import logging
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import hydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from negprompt.cli.explain import explain
from negprompt.cli.paths import conf_dir
from negprompt.errors import NegPromptError

log = logging.getLogger(__name__)

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130
_INFO_FLAGS = ("--help", "-h", "--hydra-help", "--cfg", "-c", "--info", "-i", "--shell-completion", "-sc", "--version")
_SWEEP_FLAGS = ("--multirun", "-m")

Job = Callable[[dict[str, Any]], None]


def run_command(name: str, module: str, arguments: Sequence[str]) -> int:
    """Check the settings, then run the command once, or once for each member of a sweep.

    Args:
        name: of the command, and of its yaml in `conf/`.
        module: offers `check(config)` and `job(config)`, both of plain dictionaries.
        arguments: Hydra overrides and flags.

    Returns:
        Exit code: 0, 1 a run failed, 2 the settings were refused, 130 Ctrl-C.
    """
    command = importlib.import_module(module)
    _quiet()
    try:
        if not any(argument.split("=")[0] in _INFO_FLAGS for argument in arguments):
            for config in _members(name, arguments):
                command.check(config)
        return _run(name, command.job, arguments)
    except (HydraException, OmegaConfBaseException, NegPromptError) as error:
        if os.environ.get("HYDRA_FULL_ERROR") == "1":
            raise
        _say(f"negprompt {name}: {explain(error)}")
        return EXIT_USAGE
    except KeyboardInterrupt:
        _say(f"\nnegprompt {name}: interrupted. What was finished is kept; the same command goes on from there.")
        return EXIT_INTERRUPTED


def _run(name: str, job: Job, arguments: Sequence[str]) -> int:
    failures: list[str] = []

    def task(config: DictConfig) -> None:
        try:
            job(_plain(config))
        except NegPromptError as error:
            if os.environ.get("HYDRA_FULL_ERROR") == "1":
                raise
            failures.append(str(error))
            _say(f"negprompt {name}: {error}")

    sys.argv = [f"negprompt {name}", *arguments]
    hydra.main(config_path=str(conf_dir()), config_name=name, version_base="1.3")(task)()
    if len(failures) > 1:
        _say(f"negprompt {name}: {len(failures)} runs of the sweep failed, the others finished.")
    return EXIT_FAILED if failures else 0


def _members(name: str, arguments: Sequence[str]) -> list[dict[str, Any]]:
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
            _plain(hydra.compose(name, [*search_path, *member], return_hydra_config=False))
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


def _plain(config: DictConfig) -> dict[str, Any]:
    container = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    return {str(key): value for key, value in dict(container).items()}  # type: ignore[arg-type]


def _quiet() -> None:
    """Silence what tells a user nothing: hardware banners, and advice that does not fit in-memory data."""
    for noisy in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")
    warnings.filterwarnings("ignore", module="torch.utils.data")


def _say(message: str) -> None:
    print(message, file=sys.stderr)  # noqa: T201 -- the command line's own output
