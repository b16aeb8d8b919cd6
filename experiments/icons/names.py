"""The frozen names: which words stand for which class, and which set a class belongs to."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from drawings import Drawing, families, family_drawings

NAMES_FILE = Path(__file__).parent / "names.json"
COLOUR_EMOJI = ("emojione", "fxemoji")
MAX_ALTERNATIVES = 6
"""Drawings tried per family and class, the first that copies nobody is taken."""


class Wanted(NamedTuple):
    """One picture to find: the first of a family's drawings of a name that copies no other picture."""

    part: str
    name: str
    drawings: tuple[Drawing, ...]


@functools.cache
def names() -> dict[str, Any]:
    """The content of ``names.json``."""
    content: dict[str, Any] = json.loads(NAMES_FILE.read_text())
    return content


def wanted_pictures() -> list[Wanted]:
    """Everything the benchmark asks for, in the order in which near-duplicates are kept: ID first, emoji last."""
    found = list(_per_family("id", {name: entry["drawn_as"] for name, entry in names()["id"].items()}, "drawings"))
    for kind, use in (("near", "drawings"), ("symbols", "drawings"), ("logos", "logos"), ("flags", "flags")):
        for part in ("test", "val"):
            found += _per_family(f"{kind}_{part}", names()[kind][part], use)
    return found + list(_emoji())


def _per_family(part: str, classes: dict[str, list[str]], use: str) -> Iterator[Wanted]:
    for family in families("benchmark", use):
        drawn = family_drawings(family)
        for name, words in classes.items():
            drawings = [drawing for word in words for drawing in drawn.get(word, [])]
            if drawings:
                yield Wanted(part, name, tuple(drawings[:MAX_ALTERNATIVES]))


def _emoji() -> Iterator[Wanted]:
    for family in families("benchmark", "emoji"):
        drawn = family_drawings(family)
        for name, entry in names()["id"].items():
            for word in entry["emoji"]:
                coloured = [drawing for drawing in drawn.get(word, []) if drawing.prefix in COLOUR_EMOJI]
                if coloured:
                    yield Wanted("emoji_test", name, tuple(coloured[:1]))
