"""The request that `negprompt train` makes of some overrides, for Python."""

from __future__ import annotations

from collections.abc import Sequence

from negprompt.cli.arguments import parse
from negprompt.cli.build import build_request
from negprompt.cli.compose import members, plain
from negprompt.request import Request


def composed_request(overrides: Sequence[str]) -> Request:
    """Compose the yaml of `train` for pictures of one's own.

    Args:
        overrides: as on the command line.

    Raises:
        ConfigError: a setting has a wrong name, type or value.
        HydraException: an unknown group or key.
    """
    (composed,) = members("train", parse(["data=folder", "ood=folder", *overrides]))
    return build_request(plain(composed.config))
