"""`negprompt <command> [overrides]`: the command line, one readable message for whatever goes wrong."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from negprompt import stopping
from negprompt.cli import completion, exit_codes, parent, stop
from negprompt.cli.paths import data_set_named, entry_named
from negprompt.errors import nearest


class Command(NamedTuple):
    """A command: the module that runs it, what it does, one example; a command of commands has `parts`, by name.

    `named`: makes overrides of the words where the first may be the bare name of a data set.
    """

    module: str
    does: str
    example: str
    parts: Mapping[str, Command] = {}
    named: Callable[[Sequence[str]], list[str]] = list


COMMANDS = {
    "train": Command(
        "negprompt.cli.train", "fit every stage of a method, then evaluate it", "negprompt train method=coop seed=2"
    ),
    "evaluate": Command(
        "negprompt.cli.evaluate", "score with finished prompts, no training", "negprompt evaluate run=runs/icons/..."
    ),
    "predict": Command(
        "negprompt.cli.predict",
        "label images, and tell those that belong to no class",
        "negprompt predict run=runs/icons/... input=photos output=answers.csv",
    ),
    "search": Command(
        "negprompt.cli.search",
        "choose settings on validation pictures",
        "negprompt search search_space=negprompt search.trials=30",
    ),
    "extract": Command(
        "negprompt.cli.extract", "fill the feature store, so that runs only read", "negprompt extract data=icons_val"
    ),
    "data": Command(
        "",
        "list, verify or prepare data sets; verify alone looks at the feature store",
        "negprompt data verify imagenet_1k",
        {
            "list": Command(
                "negprompt.cli.data_list", "data sets: what, where from, whether they are here", "", named=entry_named
            ),
            "verify": Command(
                "negprompt.cli.data_verify", "check a data set, or the feature store", "", named=data_set_named
            ),
            "prepare": Command("negprompt.cli.data_prepare", "write a data set as shards", "", named=data_set_named),
        },
    ),
    "import": Command(
        "negprompt.cli.import_",
        "prompts of CoOp, LoCoOp or NegPrompt checkpoints, to evaluate or to start from",
        "negprompt import file=model.pth.tar-50 output=imported/coop backbone=vit_b16_openai data=imagenet_1k",
    ),
    "export": Command(
        "negprompt.cli.export",
        "a run to one ONNX or TorchScript file with its threshold",
        "negprompt export run=runs/icons/... output=detector.onnx",
    ),
    "report": Command("negprompt.cli.report", "run folders to tables and figures", "negprompt report runs=runs/icons"),
    "fetch": Command(
        "negprompt.cli.fetch",
        "bring weights, for machines without a network",
        "negprompt fetch backbone=vit_b16_openai",
    ),
    "doctor": Command(
        "negprompt.cli.doctor",
        "what this machine, its cluster and a run need",
        "negprompt doctor backbone=vit_b16_openai",
    ),
    "completion": Command(
        "negprompt.cli.completion", "completion script of bash, zsh or fish", 'eval "$(negprompt completion bash)"'
    ),
}


def main() -> None:
    """Entry point of the console script."""
    arguments = sys.argv[1:]
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(usage())  # noqa: T201 -- the command line's own output
        return
    name, *words = arguments
    if name == "--version":
        print(importlib.import_module("negprompt").__version__)  # noqa: T201
        return
    if name not in COMMANDS:
        sys.exit(_fail(f"unknown command {name!r}; {nearest(name, COMMANDS)}."))
    if name == "completion":
        sys.exit(_completion(words))
    command = COMMANDS[name]
    if command.parts:
        part, *words = words or [""]
        if part not in command.parts:
            given = f"unknown command '{name} {part}'" if part else f"{name} what?"
            sys.exit(_fail(f"{given}; {nearest(part, command.parts)}. Example: {command.example}"))
        name, command = f"{name} {part}", command.parts[part]
    words = command.named(words)
    stopping.listen()
    # Idle threads wait for some microseconds, then sleep: spinning for long takes the cores from other processes, and
    # sleeping at once makes the small steps of a training take twice the time (experiments/benchmarks/waiting.py).
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    try:  # Heavy imports (torch, hydra) only now: help and typing errors answer at once.
        parent.follow()
        runner = importlib.import_module("negprompt.cli.run")
    except KeyboardInterrupt:
        sys.exit(stop.report(name))
    sys.exit(runner.run_command(name, command.module, words))


def usage() -> str:
    """List of commands with one example each."""
    width = max(map(len, COMMANDS))
    lines = [
        "negprompt: out-of-distribution detection with CLIP prompts",
        "",
        "usage: negprompt <command> [overrides]",
        "",
    ]
    for name, command in COMMANDS.items():
        lines += [f"  {name:<{width}}  {command.does}", f"  {'':<{width}}  {command.example}"]
    lines += ["", "negprompt <command> --help lists a command's settings."]
    return "\n".join(lines)


def _completion(words: list[str]) -> int:
    if len(words) != 1 or words[0] not in completion.SHELLS:
        given = " ".join(words)
        return _fail(f"completion {given or 'of which shell'}: {nearest(given, completion.SHELLS)}.")
    commands = {name: (command.does, tuple(command.parts)) for name, command in COMMANDS.items()}
    print(completion.script(words[0], commands))  # noqa: T201
    return 0


def _fail(message: str) -> int:
    print(f"negprompt: {message}", file=sys.stderr)  # noqa: T201
    return exit_codes.USAGE


if __name__ == "__main__":
    main()
