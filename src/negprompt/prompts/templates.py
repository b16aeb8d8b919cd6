"""Hand-written prompts: sentences with a slot for the class name, from a list, a named collection or a file."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from negprompt.errors import ConfigError

SLOT = "{}"
_COLLECTIONS = resources.files("negprompt.prompts") / "resources"


def collections() -> list[str]:
    """Names of the collections that come with the package."""
    return sorted(file.name.removesuffix(".txt") for file in _COLLECTIONS.iterdir() if file.name.endswith(".txt"))


def load_templates(given: str | Sequence[str]) -> tuple[str, ...]:
    """The sentences of a collection, of a text file with one on each line, or of a list.

    Lines that begin with # say where they come from.

    Raises:
        ConfigError: no such collection or file, no sentence, or one without exactly one slot.
    """
    if not isinstance(given, str):
        return _checked(tuple(given))
    if given in collections():
        text = (_COLLECTIONS / f"{given}.txt").read_text(encoding="utf-8")
    elif Path(given).is_file():
        text = Path(given).read_text(encoding="utf-8")
    else:
        msg = (
            f"method.prompt_templates={given} is neither a text file nor one of the collections "
            f"{', '.join(collections())}; a list such as method.prompt_templates=['a photo of a {{}}'] is allowed too."
        )
        raise ConfigError(msg)
    return _checked(tuple(line for line in text.splitlines() if line.strip() and not line.startswith("#")))


def _checked(templates: tuple[str, ...]) -> tuple[str, ...]:
    wrong = next((one for one in templates if one.count(SLOT) != 1), None)
    if wrong is not None or not templates:
        what = "is empty" if wrong is None else f"has {wrong.count(SLOT)} slots for the class name in {wrong!r}"
        msg = f"method.prompt_templates {what}: every template is a sentence with one {SLOT}."
        raise ConfigError(msg)
    return templates
