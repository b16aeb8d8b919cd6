"""What all scores share: the mark that says what a score needs, and the check of its temperature."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import ParamSpec, Protocol, cast

from torch import Tensor

from negprompt.errors import ConfigError

Arguments = ParamSpec("Arguments")
Fit = Callable[..., Tensor]

NEEDS = {
    "negative": "negative prompts (method=negprompt)",
    "no_text": 'a text tower that was trained to say "no" (method=clipn)',
    "candidates": "names that are proposed for each picture (method=zoc)",
    "local": "local image features",
    "training_features": "image features of the training pictures",
    "pixels": "the pictures themselves",
}
"""What a score may need, in words, with a method that has it."""

ON_REQUEST = frozenset({"local", "training_features", "pixels"})
"""Needs that any run meets where such a score is asked for; all others are the method's own."""


class Score(Protocol[Arguments]):
    """A pure function of `ScoreInputs` that returns float64 scores (B,), higher = more in-distribution.

    `needs` names the optional inputs it reads, keys of `NEEDS`, so that a run that cannot give them fails before it
    starts. `fit` makes `ScoreInputs.fitted` of the training pictures' features (N, D), not normalised; it takes those
    of the score's settings that it names. `later`: settings that a later version added, left out of a run's hash
    while they have their default.
    """

    needs: frozenset[str]
    fit: Fit | None
    later: frozenset[str]
    __name__: str

    def __call__(self, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Tensor:
        """Score each image of a batch."""


def score(
    *, needs: Iterable[str] = (), fit: Fit | None = None, later: Iterable[str] = ()
) -> Callable[[Callable[Arguments, Tensor]], Score[Arguments]]:
    """Mark a function as a score and say what it needs beyond cosines and features of images and positive prompts.

    Args:
        needs: keys of `NEEDS`, for example {"negative"}.
        fit: training features and settings -> `ScoreInputs.fitted`; such a score needs "training_features".
        later: names of settings that were added after the score was released.

    Returns:
        A decorator that gives the same function back with the attributes `needs`, `fit` and `later`.

    Example:
        >>> @score(needs={"negative"})
        ... def nearest_negative(inputs):
        ...     return -inputs.similarity.negative.amax(dim=(1, 2))
        >>> nearest_negative.needs
        frozenset({'negative'})
    """

    def mark(function: Callable[Arguments, Tensor]) -> Score[Arguments]:
        marked = cast("Score[Arguments]", function)
        marked.needs = frozenset(needs) | ({"training_features"} if fit else frozenset())
        marked.fit = fit
        marked.later = frozenset(later)
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
