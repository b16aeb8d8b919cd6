"""A score with its settings: what a `conf/score/*.yaml` node becomes."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, cast, get_type_hints

import torch
from pydantic import ConfigDict, TypeAdapter, ValidationError
from torch import Tensor

from negprompt.errors import ConfigError, nearest
from negprompt.scores.base import Score
from negprompt.types import Pixels, ScoreInputs, Similarity


class ScoreChoice(NamedTuple):
    """A score function with its settings filled in, what it needs, the node it came from (for the hash), its fit."""

    function: Callable[[ScoreInputs], Tensor]
    needs: frozenset[str]
    node: Mapping[str, Any]
    fit: Callable[[Tensor], Tensor] | None = None


def choose(name: str, score: Callable[..., Tensor], settings: Mapping[str, Any], target: str) -> ScoreChoice:
    """Check the settings of a score and fill them in.

    Args:
        name: of the score, for messages.
        score: function of `ScoreInputs` and keyword settings.
        settings: values of those settings.
        target: import path of the function.

    Raises:
        ConfigError: an unknown setting, a wrong type, or a value the score refuses.
    """
    if not hasattr(score, "needs"):
        msg = f"score.{name}: {target} is not marked as a score: put @score() of negprompt.scores.base before it."
        raise ConfigError(msg)
    allowed = [key for key in inspect.signature(score).parameters if key != "inputs"]
    hints = get_type_hints(score)
    values = {}
    for key, value in settings.items():
        if key not in allowed:
            msg = f"score.{name}.{key}={value!r}: unknown setting; {nearest(key, allowed)}."
            raise ConfigError(msg)
        if key not in hints:
            msg = f"score.{name}.{key}: the function says no type for it; write for example {key}: float = 1.0."
            raise ConfigError(msg)
        try:
            values[key] = TypeAdapter(hints[key], config=ConfigDict(strict=True)).validate_python(value)
        except ValidationError as error:
            given = "null" if value is None else value
            msg = f"score.{name}.{key}={given}: {error.errors()[0]['msg'].removeprefix('Input ')}."
            raise ConfigError(msg) from error
    function, marked, fit = functools.partial(score, **values), cast("Score[...]", score), None
    if marked.fit is not None:
        read = inspect.signature(marked.fit).parameters
        fit = functools.partial(marked.fit, **{key: value for key, value in values.items() if key in read})
    function(_example(fit))  # refuses a bad value now, not after training
    defaults = inspect.signature(score).parameters
    hashed = {key: value for key, value in values.items() if key not in marked.later or value != defaults[key].default}
    return ScoreChoice(function, marked.needs, {"_target_": target, **hashed}, fit)


def _example(fit: Callable[[Tensor], Tensor] | None) -> ScoreInputs:
    """One picture, eight classes with a negative each, two regions, two candidate names."""
    classes, width = 8, 4

    def similarity(pixels: Tensor) -> Similarity:
        return Similarity(pixels.mean(dim=(1, 2, 3)).unsqueeze(1).expand(-1, classes))

    return ScoreInputs(
        Similarity(torch.zeros(1, classes), torch.zeros(1, classes, 1), torch.zeros(1, 2, classes)),
        1.0,
        image_features=torch.ones(1, width),
        text_features=torch.ones(classes, width),
        pixels=Pixels(torch.zeros(1, 3, 1, 1), (1.0, 1.0, 1.0), similarity),
        fitted=None if fit is None else fit(torch.ones(2, width)),
        candidates=torch.zeros(1, 2),
    )
