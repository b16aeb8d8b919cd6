"""Errors a user can mend: every message names the value, what is allowed and the setting to change."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class NegPromptError(Exception):
    """Base of all errors that are shown as one message, without a traceback."""


class ConfigError(NegPromptError):
    """A setting has a wrong name, type or value."""


class DataError(NegPromptError):
    """A picture, shard or list is missing, damaged or does not fit the request."""


class BackboneError(NegPromptError):
    """A backbone is unknown, its weights are not at hand, or they do not fit the model."""


class PromptMismatchError(NegPromptError):
    """Prompts belong to another backbone, other class names or another layout."""


class RunError(NegPromptError):
    """A run folder cannot be written, read or continued."""


def nearest(given: str, allowed: Iterable[str]) -> str:
    """Name the allowed values and the one that looks most like `given`, for the end of an error message.

    Example:
        >>> nearest("tiny_rm", ["tiny_rn", "tiny_vit"])
        "allowed: tiny_rn, tiny_vit; did you mean 'tiny_rn'?"
    """
    options = sorted(allowed)
    matches = difflib.get_close_matches(given, options, n=1, cutoff=0.5)
    hint = f"; did you mean '{matches[0]}'?" if matches else ""
    return f"allowed: {', '.join(options)}{hint}"
