"""The formats by name, and which of them a file has. One more format: one file, one line here."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, NamedTuple

from negprompt.errors import PromptMismatchError
from negprompt.prompts.importers.base import ForeignPrompts, State, names
from negprompt.prompts.importers.coop import COOP, LOCOOP
from negprompt.prompts.importers.files import read_state
from negprompt.prompts.importers.negprompt import NEGPROMPT

FormatName = Literal["auto", "coop", "locoop", "negprompt"]
FORMATS = {"coop": COOP, "locoop": LOCOOP, "negprompt": NEGPROMPT}


class Source(NamedTuple):
    """Where imported prompts come from: the file's name without its folder, its SHA-256, its format."""

    file: str
    sha256: str
    format: str


def read_file(path: Path, asked: FormatName) -> tuple[ForeignPrompts, Source]:
    """The prompts in a checkpoint of other code.

    Args:
        path: the file.
        asked: its format; auto = the first that its tensors fit. CoOp and LoCoOp have one layout: auto says coop.

    Raises:
        PromptMismatchError: the file cannot be read, or is not of that format.
    """
    state, sha256 = read_state(path)
    try:
        name = found(state) if asked == "auto" else asked
        prompts = FORMATS[name].read(state)
    except PromptMismatchError as error:
        msg = f"{path}: {error}"
        raise PromptMismatchError(msg) from error
    return prompts, Source(path.name, sha256, name)


def found(state: State) -> str:
    """Name of the format whose mark is among the tensors.

    Raises:
        PromptMismatchError: none is.
    """
    name = next((name for name, layout in FORMATS.items() if layout.mark in state), None)
    if name is None:
        marks = ", ".join(f"{layout.mark} ({name})" for name, layout in FORMATS.items())
        msg = f"it has none of {marks} but {names(state)}: give the file that holds the prompt learner."
        raise PromptMismatchError(msg)
    return name
