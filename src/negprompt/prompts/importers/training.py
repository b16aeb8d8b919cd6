"""What imported prompts were trained on: the class names that a data set says, as far as the file bears them out."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import NamedTuple

from negprompt.backbones.base import FrozenBackbone
from negprompt.errors import PromptMismatchError
from negprompt.prompts.importers.base import ForeignPrompts
from negprompt.prompts.importers.checks import matching

log = logging.getLogger(__name__)


class Borne(NamedTuple):
    """Training class names, empty where they are not known; `full_stop`: what the file shows, None where nothing."""

    class_names: tuple[str, ...]
    full_stop: bool | None


def borne_out(
    prompts: ForeignPrompts, data: str, class_names: Sequence[str], full_stop: bool, backbone: FrozenBackbone
) -> Borne:
    """Compare the file's classes with those of a data set.

    Shared contexts go with any names, so other classes are a warning for them; class-specific ones belong to theirs.

    Args:
        prompts: from the file.
        data: name of the data set, for messages.
        class_names: its training classes, in label order.
        full_stop: tried first.
        backbone: whose token table the names are looked up in.

    Raises:
        PromptMismatchError: class-specific contexts and another number of classes, or other names.
    """
    count, given = prompts.num_classes, len(class_names)
    if count is None:
        log.warning(
            "The file has no token_prefix: it is taken to be trained on the %d classes of data=%s.", given, data
        )
        return Borne(tuple(class_names), None)
    if count != given:
        said = f"The prompts were trained on {count} classes, and data={data} trains on {given}"
        return _unknown(prompts, f"{said}: set data (and data.class_fraction) to what they were trained on")
    if prompts.rest is None:
        log.warning("The file has no token_suffix: its classes are taken to be those of data=%s, in its order.", data)
        return Borne(tuple(class_names), None)
    tries = {stop: matching(prompts.rest, class_names, stop, backbone) for stop in (full_stop, not full_stop)}
    shown = max(tries, key=lambda stop: sum(tries[stop]))  # the first of equal ones
    if all(tries[shown]):
        return Borne(tuple(class_names), shown)
    other, others = tries[shown].index(False), tries[shown].count(False)
    said = (
        f"{others} of the {count} class names in the file are not those of data={data}, the first of them number "
        f"{other + 1}, which is {class_names[other]!r} here"
    )
    return _unknown(prompts, f"{said}: set data (or data.class_names) to the names it was trained with, in their order")


def settle_full_stop(asked: bool | None, shown: bool | None, usual: bool) -> bool:
    """Whether a full stop ends the prompts: what was asked for, else what the file shows, else what is usual.

    Args:
        asked: by the user, None for nothing.
        shown: by the file, None for nothing.
        usual: for its format.
    """
    if asked is not None and shown not in (None, asked):
        log.warning(
            "The prompts were trained %s a full stop, and method.full_stop=%s puts them together otherwise.",
            "with" if shown else "without",
            str(asked).lower(),
        )
    return next(value for value in (asked, shown, usual) if value is not None)


def _unknown(prompts: ForeignPrompts, said: str) -> Borne:
    if prompts.class_specific:
        msg = f"{said}; each class has contexts of its own."
        raise PromptMismatchError(msg)
    log.warning(
        "%s. Shared contexts fit any names: they are imported, but what they were trained on is not recorded, and "
        "whether a full stop ended their prompts is not looked at.",
        said,
    )
    return Borne((), None)
