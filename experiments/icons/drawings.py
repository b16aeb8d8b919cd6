"""The catalogue: which family drew what, under which name and licence."""

from __future__ import annotations

import functools
import hashlib
import json
from collections import defaultdict
from pathlib import Path
from typing import Any, NamedTuple

from naming import MAX_WORDS, SKIN_OR_HAIR, split_style
from source import SHIPPABLE, collections, icon_names, set_suffixes

ROLES_FILE = Path(__file__).parent / "roles.json"


class Drawing(NamedTuple):
    """One drawing with the words for it; ``style`` is what was cut off its file name."""

    name: str
    prefix: str
    icon: str
    style: str
    family: str
    license: str

    @property
    def order(self) -> str:
        """A fixed random rank: choices among drawings depend on nothing but their address."""
        return hashlib.sha256(f"{self.prefix}:{self.icon}".encode()).hexdigest()

    @property
    def record(self) -> dict[str, str]:
        """What is stored beside the picture."""
        address = f"{self.prefix}:{self.icon}"
        return {"name": self.name, "icon": address, "family": self.family, "license": self.license}


@functools.cache
def roles() -> dict[str, dict[str, Any]]:
    """The frozen role of every family."""
    families: dict[str, dict[str, Any]] = json.loads(ROLES_FILE.read_text())["families"]
    return families


def families(role: str, use: str | None = None) -> list[str]:
    """Families of a role; of the benchmark's, those used for one kind of picture."""
    return [name for name, entry in roles().items() if entry["role"] == role and entry.get("use") == use]


def family_drawings(family: str) -> dict[str, list[Drawing]]:
    """A family's drawings by name, each list in its fixed random order.

    Skin tones and hair, which repeat one drawing up to five times, are left out, and so are names of too many words.
    """
    found: dict[str, list[Drawing]] = defaultdict(list)
    for prefix, entry in roles()[family]["sets"].items():
        if entry["license"] not in SHIPPABLE:
            raise ValueError(f"{prefix} of family {family} has licence {entry['license']}, which can't be shipped")
        people = collections()[prefix].get("category") == "Emoji" or "emoji" in prefix
        for icon in icon_names(prefix):
            if people and SKIN_OR_HAIR.search(icon):
                continue
            name, style = split_style(icon, set_suffixes(prefix), prefixed=prefix == "ic")
            if name and len(name.split()) <= MAX_WORDS:
                found[name].append(Drawing(name, prefix, icon, style, family, entry["license"]))
    return {name: sorted(found[name], key=lambda drawing: drawing.order) for name in sorted(found)}


def two_styles(drawings: list[Drawing]) -> list[Drawing]:
    """At most two drawings of one name, in different styles where there are any."""
    first = drawings[0]
    others = [drawing for drawing in drawings[1:] if (drawing.style, drawing.prefix) != (first.style, first.prefix)]
    return [first, *(others or drawings[1:])[:1]]
