"""Run a command under Hydra: settings checked first, errors as one message, exit codes that mean something."""

from __future__ import annotations

import importlib
import logging
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from hydra.core.utils import configure_log
from omegaconf import OmegaConf

from negprompt.cli import exit_codes, launch, stop
from negprompt.cli.arguments import parse
from negprompt.cli.compose import Composed, members, plain, swept
from negprompt.cli.explain import explain
from negprompt.cli.under_hydra import FULL_ERROR, run_hydra
from negprompt.errors import ConfigError, PromptMismatchError, RunBusyError

Job = Callable[[dict[str, Any]], None]


class Failure(NamedTuple):
    """A run that failed: the settings that tell it from the others of its sweep, and why."""

    member: str
    error: Exception


def run_command(name: str, module: str, words: Sequence[str]) -> int:
    """Check the settings, then run the command once, or once for each member of a sweep.

    Args:
        name: of the command; its yaml in `conf/` has the same, with _ between two words.
        module: offers `check(config)` and `job(config)`, both of plain dictionaries, and perhaps
            `sweep(arguments, composed)` for --multirun, which returns the exit code; with `ALONE`, one process is
            enough whatever `trainer.devices` says, and `WHEN_STOPPED` tells what a signal leaves.
        words: Hydra overrides and flags.

    Returns:
        Exit code: 0, 1 a run failed, 2 the settings were refused, 75 another process makes the run right now,
        130 Ctrl-C, 143 terminated.
    """
    wants_traceback = os.environ.get(FULL_ERROR) == "1"
    kept = stop.KEPT
    try:
        command = importlib.import_module(module)
        kept = getattr(command, "WHEN_STOPPED", kept)
        _quiet()
        arguments = parse(words)
        composed = members(_yaml(name), arguments) if "--help" not in arguments.flags else []
        if arguments.only_shows:
            run_hydra(f"negprompt {name}", arguments.for_hydra, _yaml(name), lambda _: None)
            return 0
        if arguments.multirun and hasattr(command, "sweep"):
            return int(command.sweep(arguments, composed))
        configs = [plain(one.config) for one in composed]
        for config in configs:
            command.check(config)
        alone = getattr(command, "ALONE", False)
        if not alone and (processes := launch.needed(configs)) > 1:
            return launch.start(processes, name, words)
        sys.argv = [f"negprompt {name}", *arguments.for_hydra]  # what a run notes down as its command
        failures = _run(name, command.job, composed, swept(arguments.overrides), wants_traceback)
    except KeyboardInterrupt:
        return stop.report(name, kept)
    except Exception as error:
        if wants_traceback:
            raise
        _say(name, explain(error))
        return exit_codes.USAGE
    return _verdict(name, failures, len(composed))


def _run(
    name: str, job: Job, composed: Sequence[Composed], keys: Sequence[str], wants_traceback: bool
) -> list[Failure]:
    """Run every member; one that fails does not stop the others. `keys` are those of which there are several values."""
    failures: list[Failure] = []
    for one in composed:
        # What Hydra's own main does before a job, without composing the settings twice more.
        whole = OmegaConf.create({"hydra": one.hydra})
        configure_log(whole.hydra.job_logging, whole.hydra.verbose)
        if launch.is_silent():
            logging.getLogger("negprompt").setLevel(logging.ERROR)
        try:
            job(plain(one.config))
        except Exception as error:
            if wants_traceback:
                raise
            member = " ".join(text for text in one.overrides if text.partition("=")[0] in keys)
            failures.append(Failure(member, error))
            if not launch.follows_another(error):
                _say(name, f"{member}: {explain(error)}" if member else explain(error))
            if launch.is_one_of_several():  # the others would wait for this one
                raise SystemExit(_verdict(name, failures, 1)) from error
    return failures


def _yaml(name: str) -> str:
    return name.replace(" ", "_")


def _verdict(name: str, failures: Sequence[Failure], members: int) -> int:
    """The exit code, and for a sweep which of its members failed."""
    if failures and all(isinstance(failure.error, RunBusyError) for failure in failures):
        return exit_codes.BUSY
    if members > 1 and failures:
        named = "; ".join(failure.member for failure in failures)
        _say(name, f"{len(failures)} of {members} runs failed: {named}. The same command again makes only these.")
        return exit_codes.FAILED
    if failures:
        refused = isinstance(failures[0].error, ConfigError | PromptMismatchError)
        return exit_codes.USAGE if refused else exit_codes.FAILED
    return 0


def _quiet() -> None:
    """Silence what tells a user nothing: hardware banners, and advice that does not fit in-memory data."""
    for noisy in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    logging.getLogger().addFilter(_is_said_otherwise)
    warnings.filterwarnings("ignore", module="lightning")
    warnings.filterwarnings("ignore", module="torch.utils.data")


def _is_said_otherwise(record: logging.LogRecord) -> bool:
    """Drop open_clip's errors, which it logs and then raises; our message of them says what to do."""
    return not (record.levelno == logging.ERROR and "open_clip" in record.pathname)


def _say(name: str, message: str) -> None:
    if launch.is_silent():
        message = f"[process {os.environ['RANK']}] {message}"
    print(f"negprompt {name}: {message}", file=sys.stderr)  # noqa: T201 -- the command line's own output
