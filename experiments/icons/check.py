"""The frozen names against WordNet: what is drawn is concrete, and nothing OOD is a kind of something ID."""

from __future__ import annotations

from names import names
from wordnet import CONCRETE, above_or_below, senses, synset


def check_names() -> None:
    """Check ID synsets, label order and the near set.

    Raises:
        ValueError: naming the first name that breaks a rule.
    """
    ids = {name: int(entry["wordnet_id"][1:]) for name, entry in names()["id"].items()}
    if list(ids.values()) != sorted(set(ids.values())):
        raise ValueError("ID names must be in the order of their WordNet ids, each id once")
    for name, offset in ids.items():
        if synset(offset).lexfile not in CONCRETE:
            raise ValueError(f"ID name {name!r} is no concrete thing in WordNet's synset n{offset:08d}")
    apart = names()["near_senses_judged_apart"]
    for part in ("test", "val"):
        for near, words in names()["near"][part].items():
            if not any(sense.lexfile in CONCRETE for word in words for sense in senses(word)):
                raise ValueError(f"near name {near!r} has no concrete sense")
            related = {name for word in words for name, offset in ids.items() if above_or_below(word, offset)}
            if related - {name for word in words for name in apart.get(word, [])}:
                raise ValueError(f"near name {near!r} lies above or below the ID names {sorted(related)}")
