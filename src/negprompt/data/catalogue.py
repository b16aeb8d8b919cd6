"""The known data sets: what they are, under which terms, how large, and where to get them."""

from __future__ import annotations

import functools
import json
from importlib import resources
from typing import Literal, NamedTuple

from negprompt.errors import ConfigError, nearest

Kind = Literal["ID", "OOD", "ID and OOD", "list"]
Home = Literal["package", "imagenet", "conventional", "tiny_imagenet", "openood"]


class Entry(NamedTuple):
    """A set that can be had as one download.

    `pictures` that are used, None for lists. `licence`, `size`: "see source" where whoever gives the archive must be
    asked. `source`: an address, or what to do, in the folder of all data. `folder`: where it is unpacked to,
    below the folder of all data. `used_by`: options that read it, as `data=icons`. `home`: whose settings find it, and
    `part`: as what of it. `notes`: what one should know before trusting numbers on it.
    """

    key: str
    kind: Kind
    what: str
    pictures: int | None
    licence: str
    size: str
    source: str
    folder: str
    used_by: tuple[str, ...]
    home: Home
    part: str
    notes: tuple[str, ...]


@functools.cache
def catalogue() -> tuple[Entry, ...]:
    """All known sets, those of one benchmark together."""
    text = (resources.files("negprompt.data") / "resources" / "catalogue.json").read_text(encoding="utf-8")
    rows = ([row[field] for field in Entry._fields] for row in json.loads(text))
    return tuple(Entry._make(tuple(value) if isinstance(value, list) else value for value in row) for row in rows)


def entries_named(name: str) -> tuple[Entry, ...]:
    """The set of that name, or all that an option of that name reads; capital letters do not matter.

    Raises:
        ConfigError: there is neither.

    Example:
        >>> [entry.key for entry in entries_named("texture")], len(entries_named("conventional"))
        (['Texture'], 4)
    """
    by_key = {entry.key: (entry,) for entry in catalogue()}
    options = {option.partition("=")[2] for entry in catalogue() for option in entry.used_by}
    by_option = {option: tuple(entry for entry in catalogue() if _is_read_by(entry, option)) for option in options}
    known = by_option | by_key
    found = next((key for key in known if key.casefold() == name.casefold()), None)
    if found is None:
        msg = f"name={name}: no known data set; {nearest(name, known)}."
        raise ConfigError(msg)
    return known[found]


def _is_read_by(entry: Entry, option: str) -> bool:
    return any(used.partition("=")[2] == option for used in entry.used_by)
