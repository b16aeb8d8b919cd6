"""What all scores share: the mark that says what a score needs, and the check of its temperature."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import ParamSpec, Protocol, cast

from torch import Tensor

from negprompt.errors import ConfigError

Arguments = ParamSpec("Arguments")


class Score(Protocol[Arguments]):
    """A pure function of `ScoreInputs` that returns float64 scores (B,), higher = more in-distribution.

    `needs` names the optional inputs it reads ("negative": negative prompts), so that a run that cannot
    give them fails before it starts.
    """

    needs: frozenset[str]
    __name__: str

    def __call__(self, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Tensor:
        """Score each image of a batch."""


def score(*, needs: Iterable[str] = ()) -> Callable[[Callable[Arguments, Tensor]], Score[Arguments]]:
    """Mark a function as a score and say what it needs beyond positive cosines and the logit scale.

    Args:
        needs: names of optional inputs, for example {"negative"}.

    Returns:
        A decorator that gives the same function back with the attribute `needs`.

    Example:
        >>> @score(needs={"negative"})
        ... def nearest_negative(inputs):
        ...     return -inputs.similarity.negative.amax(dim=(1, 2))
        >>> nearest_negative.needs
        frozenset({'negative'})
    """

    def mark(function: Callable[Arguments, Tensor]) -> Score[Arguments]:
        marked = cast("Score[Arguments]", function)
        marked.needs = frozenset(needs)
        return marked

    return mark


def check_temperature(score_name: str, temperature: float) -> None:
    """Refuse a temperature that is not a finite number above 0.

    Args:
        score_name: the score whose setting is named in the message.
        temperature: softmax temperature.

    Raises:
        ConfigError: if the temperature is 0, negative, infinite or not a number.
    """
    if not 0 < temperature < math.inf:
        message = (
            f"score.{score_name}.temperature={temperature} is not allowed: "
            f"a temperature is a finite number > 0, for example score.{score_name}.temperature=1.0."
        )
        raise ConfigError(message)
