"""What a search may vary: settings by name, each with choices or a range."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Self

from pydantic import model_validator

from negprompt.errors import ConfigError, nearest
from negprompt.settings import Settings

Value = bool | int | float | str | None
MAY_VARY = ("method", "features", "trainer", "score")
"""Groups whose settings a search may vary: pictures, seed and folders stay, or values could not be compared."""

_PLAIN = re.compile(r"[^\W\d]([\w ./-]*[\w./-])?")
_FORM = "a list of choices, [1, 2, 4], or a range, {low: 0.01, high: 1.0, log: true}"


class Range(Settings):
    """Numbers from `low` to `high`, both included; whole numbers where the limits (and `step`) are.

    `step`: distance of the values, null for every number; `log`: even on a logarithmic scale.
    """

    low: int | float
    high: int | float
    step: int | float | None = None
    log: bool = False

    @property
    def is_whole(self) -> bool:
        """Whether its values are whole numbers."""
        return all(isinstance(one, int) for one in (self.low, self.high, 1 if self.step is None else self.step))

    @property
    def samples(self) -> tuple[Value, ...]:
        """Values that stand for all, to be checked before anything runs."""
        return self.low, self.high

    def holds(self, value: object) -> bool:
        """Whether a value is one of the range."""
        if isinstance(value, bool) or not isinstance(value, int if self.is_whole else int | float):
            return False
        steps = 0.0 if self.step is None else (value - self.low) / self.step
        return self.low <= value <= self.high and abs(steps - round(steps)) < 1e-9

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if self.low >= self.high:
            msg = f"low={self.low} is not below high={self.high}: exchange them, or leave the setting out."
            raise ConfigError(msg)
        if self.log and (self.low <= 0 or self.step is not None):
            what = f"low={self.low} has no logarithm" if self.low <= 0 else f"step={self.step} has no place in it"
            msg = f"log=true, and {what}: set a low above 0 and no step, or log=false."
            raise ConfigError(msg)
        if self.step is not None and not 0 < self.step <= self.high - self.low:
            msg = f"step={self.step}: should be above 0 and at most high - low."
            raise ConfigError(msg)
        return self


class Choices(Settings):
    """Values to choose from, in no order."""

    values: tuple[Value, ...]

    @property
    def samples(self) -> tuple[Value, ...]:
        """All of them."""
        return self.values

    def holds(self, value: object) -> bool:
        """Whether a value is one of them."""
        return any(type(value) is type(one) and value == one for one in self.values)


Space = Mapping[str, Range | Choices]


def parse(nodes: Mapping[str, Any], config: Mapping[str, Any]) -> Space:
    """Check a space against the settings it varies.

    Args:
        nodes: by setting, a list of choices or a mapping with `low`, `high`, `step`, `log`.
        config: the settings of a run as plain dictionaries.

    Raises:
        ConfigError: nothing to vary, a setting that may not vary or that there is not, or a wrong range.
    """
    if not nodes:
        msg = f"search.space is empty: give settings with {_FORM}, or choose one that is there, search_space=negprompt."
        raise ConfigError(msg)
    return {name: _part(name, node, config) for name, node in nodes.items()}


def current(space: Space, config: Mapping[str, Any]) -> dict[str, Value] | None:
    """The settings as they stand, None where one of them lies outside of the space."""
    values = {name: _lookup(name, config) for name in space}
    return values if all(space[name].holds(value) for name, value in values.items()) else None


def overrides(params: Mapping[str, Value]) -> list[str]:
    """Settings as they are written on the command line.

    Example:
        >>> overrides({"method.nnd_weight": 0.5, "method.full_stop": True, "method.context_words": "a photo"})
        ['method.nnd_weight=0.5', 'method.full_stop=true', 'method.context_words=a photo']
    """
    return [f"{name}={_typed(value)}" for name, value in params.items()]


def _part(name: str, node: object, config: Mapping[str, Any]) -> Range | Choices:
    place = f"search.space.{name}"
    _refuse_setting(name, config)
    if isinstance(node, list):
        return _choices(place, node)
    if not isinstance(node, Mapping):
        msg = f"{place}={node}: should be {_FORM}."
        raise ConfigError(msg)
    unknown = next((key for key in node if key not in Range.model_fields), None)
    if unknown is not None:
        msg = f"{place}: unknown key {unknown!r}; {nearest(str(unknown), Range.model_fields)}."
        raise ConfigError(msg)
    numbers = {key: node.get(key) for key in ("low", "high", "step")}
    bad = {
        key: value for key, value in numbers.items() if not _is_number(value) and (key != "step" or value is not None)
    }
    if bad or not isinstance(node.get("log", False), bool):
        key, value = next(iter(bad.items()), ("log", node.get("log")))
        msg = f"{place}.{key}={_typed(value)}: should be {'true or false' if key == 'log' else 'a number'}."
        raise ConfigError(msg)
    try:
        return Range(**node)
    except ConfigError as error:
        msg = f"{place}: {error}"
        raise ConfigError(msg) from error


def _choices(place: str, values: list[Any]) -> Choices:
    wrong = [value for value in values if value is not None and not isinstance(value, bool | int | float | str)]
    if not values or wrong:
        what = f"{wrong[0]} is no single value" if wrong else "there is no choice"
        msg = f"{place}={values}: {what}; should be {_FORM}."
        raise ConfigError(msg)
    texts = list(map(_typed, values))
    twice = next((text for place, text in enumerate(texts) if text in texts[:place]), None)
    if twice is not None:
        msg = f"{place}: {twice} stands there twice; name each choice once."
        raise ConfigError(msg)
    return Choices(values=tuple(values))


def _refuse_setting(name: str, config: Mapping[str, Any]) -> None:
    group = name.partition(".")[0]
    if group not in MAY_VARY:
        msg = (
            f"search.space.{name}: a search varies settings of {', '.join(MAY_VARY)}; pictures, seed and folders stay, "
            "or its values could not be compared. search.seeds=[1,2,3] takes means over seeds."
        )
        raise ConfigError(msg)
    known = list(_leaves(config[group], group))
    if name not in known:
        inside = [one for one in known if one.startswith(f"{name}.")]
        hint = f"is a group of settings, name one of them: {', '.join(inside)}" if inside else nearest(name, known)
        msg = f"search.space.{name}: {hint if inside else f'unknown setting; {hint}'}."
        raise ConfigError(msg)


def _leaves(node: Mapping[str, Any], prefix: str) -> list[str]:
    """Names of all settings below a node."""
    names: list[str] = []
    for key, value in node.items():
        if not key.startswith("_"):
            names += _leaves(value, f"{prefix}.{key}") if isinstance(value, Mapping) else [f"{prefix}.{key}"]
    return names


def _lookup(name: str, config: Mapping[str, Any]) -> Any:  # noqa: ANN401 -- any setting
    node: Any = config
    for key in name.split("."):
        node = node[key]
    return node


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _typed(value: object) -> str:
    """A value as Hydra reads it back: text that could be read as something else goes into quotes."""
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    if not isinstance(value, str):
        return repr(value)
    if _PLAIN.fullmatch(value) and value.lower() not in ("null", "true", "false", "nan", "inf"):
        return value
    # Hydra takes backslashes as they are, but those before a quote.
    escaped = re.sub(r"(\\*)('|$)", lambda found: 2 * found[1] + ("\\'" if found[2] else ""), value)
    return f"'{escaped}'"
