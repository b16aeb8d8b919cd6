"""WordNet's noun files: lexicographer file and hypernyms of a name's senses."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import NamedTuple

ROOT = Path("/usr/share/wordnet")  # Debian's package wordnet-base
CONCRETE = {5: "animal", 6: "artifact", 8: "body", 13: "food", 17: "object", 20: "plant"}


class Synset(NamedTuple):
    """A noun synset: its words, lexicographer file and hypernyms' offsets."""

    wordnet_id: str
    lexfile: int
    words: tuple[str, ...]
    hypernyms: tuple[int, ...]


@functools.cache
def _senses() -> dict[str, tuple[int, ...]]:
    index: dict[str, tuple[int, ...]] = {}
    for line in (ROOT / "index.noun").read_text().splitlines():
        if not line.startswith(" "):
            fields = line.split()
            count = int(fields[2])
            index[fields[0].replace("_", " ")] = tuple(int(offset) for offset in fields[-count:])
    return index


@functools.cache
def synset(offset: int) -> Synset:
    """The synset at a byte offset of ``data.noun``."""
    with (ROOT / "data.noun").open("rb") as file:
        file.seek(offset)
        fields = file.readline().decode().split(" | ")[0].split()
    words = int(fields[3], 16)
    names = tuple(word.replace("_", " ").lower() for word in fields[4 : 4 + 2 * words : 2])
    pointers = fields[5 + 2 * words :]
    hypernyms = tuple(int(pointers[i + 1]) for i in range(0, len(pointers) - 3, 4) if pointers[i] in ("@", "@i"))
    return Synset(f"n{offset:08d}", int(fields[1]), names, hypernyms)


def senses(name: str) -> list[Synset]:
    """A name's noun senses, most frequent first; empty for a word that WordNet lacks."""
    return [synset(offset) for offset in _senses().get(name, ())]


@functools.cache
def ancestors(offset: int) -> frozenset[int]:
    """All synsets above one, itself included."""
    above = {offset}
    for parent in synset(offset).hypernyms:
        above |= ancestors(parent)
    return frozenset(above)


def above_or_below(name: str, offset: int) -> bool:
    """Whether some sense of a name equals a synset, contains it or falls under it."""
    return any(sense in ancestors(offset) or offset in ancestors(sense) for sense in _senses().get(name, ()))
