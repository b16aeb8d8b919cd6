"""Errors a user can mend: every message names the value, what is allowed and the setting to change."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_LOADER_MARK = "Original Traceback"
_LISTED, _CLOSEST = 30, 8


class NegPromptError(Exception):
    """Base of all errors that are shown as one message, without a traceback."""

    def __init__(self, message: str = "") -> None:
        if _LOADER_MARK in message:  # torch hands an error of a loader process on with its traceback in the message
            message = message.strip().rpartition("\n")[2].partition(": ")[2]
        super().__init__(message)


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


class ExportError(NegPromptError):
    """An exported file does not answer as the detector does, or cannot be made."""


class RunBusyError(NegPromptError):
    """Another process makes the same run right now. Nothing is wrong: a command leaves with exit code 75."""


def nearest(given: str, allowed: Iterable[str]) -> str:
    """Name the value that looks most like `given` and those allowed, for the end of an error message.

    Where there are many, only the closest are named.

    Example:
        >>> nearest("tiny_rm", ["tiny_rn", "tiny_vit"])
        "did you mean 'tiny_rn'? Allowed: tiny_rn, tiny_vit"
        >>> nearest("x", ["tiny_rn", "tiny_vit"])
        'allowed: tiny_rn, tiny_vit'
    """
    options = sorted(allowed)
    begun = [option for option in options if given and option.startswith(given)]
    matches = list(dict.fromkeys(begun + difflib.get_close_matches(given, options, n=_CLOSEST, cutoff=0.5)))
    hint = f"did you mean '{matches[0]}'? Allowed" if matches else "allowed"
    if len(options) <= _LISTED:
        return f"{hint}: {', '.join(options)}"
    shown = [*matches, *(option for option in options if option not in matches)][:_CLOSEST]
    return f"{hint}: {', '.join(shown)} and {len(options) - len(shown)} more"
