"""The words after a command, sorted: flags that we know, and overrides that Hydra can read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from negprompt.errors import ConfigError, nearest

_SWITCHES = {
    "--multirun": ("--multirun", "-m"),
    "--help": ("--help", "-h"),
    "--hydra-help": ("--hydra-help",),
    "--resolve": ("--resolve",),
}
_VALUED = {"--cfg": ("--cfg", "-c"), "--config-dir": ("--config-dir", "-cd"), "--package": ("--package", "-p")}
_LONG = {short: name for name, forms in (_SWITCHES | _VALUED).items() for short in forms}
_PARTS = ("job", "hydra", "all")


class Arguments(NamedTuple):
    """A command line: flags by their long names with their values, and overrides in their order."""

    flags: dict[str, str]
    overrides: tuple[str, ...]

    @property
    def multirun(self) -> bool:
        """Whether lists of values are a sweep."""
        return "--multirun" in self.flags

    @property
    def only_shows(self) -> bool:
        """Whether nothing is to be run."""
        return not {"--help", "--hydra-help", "--cfg"}.isdisjoint(self.flags)

    @property
    def for_hydra(self) -> list[str]:
        """The same for Hydra's own parser, which wants all flags in front."""
        flags = [part for name, value in self.flags.items() for part in ([name, value] if value else [name])]
        return [*flags, *self.overrides]


def parse(words: Sequence[str]) -> Arguments:
    """Sort the words after a command.

    Raises:
        ConfigError: an unknown flag, one whose value is missing or not allowed, or two that exclude each other.
    """
    flags: dict[str, str] = {}
    overrides: list[str] = []
    rest = iter(words)
    for word in rest:
        if not word.startswith("-"):
            overrides.append(word)
            continue
        given, _, value = word.partition("=")
        if given not in _LONG:
            msg = f"unknown flag {given!r}; {nearest(given, set(_LONG.values()))}. Settings have no dashes: seed=1."
            raise ConfigError(msg)
        name = _LONG[given]
        flags[name] = _value(name, value or next(rest, "")) if name in _VALUED else ""
    if {"--multirun", "--cfg"} <= flags.keys():
        msg = "--cfg shows the settings of one run: leave --multirun out, and give one value to each setting."
        raise ConfigError(msg)
    return Arguments(flags, tuple(overrides))


def _value(flag: str, value: str) -> str:
    if not value:
        msg = f"{flag} needs a value: {flag} {'job' if flag == '--cfg' else '...'}"
        raise ConfigError(msg)
    if flag == "--cfg" and value not in _PARTS:
        msg = f"--cfg {value}: unknown; {nearest(value, _PARTS)}."
        raise ConfigError(msg)
    if flag == "--config-dir":
        folder = Path(value).absolute()
        if not folder.is_dir():
            msg = f"--config-dir {value}: there is no such folder; give one with yaml in folders named like our groups."
            raise ConfigError(msg)
        return str(folder)
    return value
