"""Other words for a name: designers write "phone" and "tv" where a class list says "telephone" and "television".

A drawing's caption now and then uses another word of the first WordNet sense of its name, so that a word few designers
chose is learned from the drawings of those who chose its synonym. No class list is read.
"""

from __future__ import annotations

import sys
from functools import lru_cache
from pathlib import Path

import numpy as np

sys.path.append(str(Path(__file__).parents[1] / "icons"))
from wordnet import senses

SHARE = 0.25
"""How often a name that has synonyms is replaced by one."""


@lru_cache(maxsize=100_000)
def synonyms(name: str) -> tuple[str, ...]:
    """Words that share the first noun sense of ``name``, without itself; none for a name that WordNet lacks."""
    found = senses(name)
    return tuple(word for word in found[0].words if word != name) if found else ()


def spoken(name: str, random: np.random.Generator) -> str:
    """The name, or now and then a synonym."""
    others = synonyms(name)
    if not others or random.random() >= SHARE:
        return name
    return others[random.integers(len(others))]
