"""Run a command under Hydra: settings checked first, errors as one message, exit codes that mean something."""

from __future__ import annotations

import importlib
import logging
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import hydra
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from negprompt.cli.compose import configurations, plain
from negprompt.cli.explain import explain
from negprompt.cli.paths import conf_dir
from negprompt.errors import NegPromptError

log = logging.getLogger(__name__)

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130
_INFO_FLAGS = ("--help", "-h", "--hydra-help", "--cfg", "-c", "--info", "-i", "--shell-completion", "-sc", "--version")

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
            for config in configurations(name, arguments):
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
            job(plain(config))
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


def _quiet() -> None:
    """Silence what tells a user nothing: hardware banners, and advice that does not fit in-memory data."""
    for noisy in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")
    warnings.filterwarnings("ignore", module="torch.utils.data")


def _say(message: str) -> None:
    print(message, file=sys.stderr)  # noqa: T201 -- the command line's own output
