"""All sets of a benchmark by name, as they go into shards."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np

from negprompt.data.base import IDSets, OODSets
from negprompt.data.classes import Classes
from negprompt.data.listed import ListedID
from negprompt.data.listing import Listing
from negprompt.data.stored import TRAIN, Stored


class Parts(NamedTuple):
    """Pictures by the name of their set (OOD sets as `ood/<name>`), and the classes their labels are places in."""

    sets: dict[str, Listing]
    classes: Classes


def parts_of(id_sets: IDSets, ood_sets: OODSets, *, train: Literal["all", "draw"], seed: int) -> Parts:
    """Sets of a benchmark, with the pictures of its classes only.

    Args:
        id_sets: settings of the ID sets.
        ood_sets: settings of the OOD sets.
        train: all training pictures, from which any number of shots can be drawn, or the draw of `seed` only.
        seed: of the draw.

    Raises:
        DataError: something is missing or damaged.
    """
    sources = {source.name: source for source in id_sets.sources()}
    keys = sources[TRAIN].classes or ()
    classes = id_sets.classes() if isinstance(id_sets, ListedID) else Classes(keys, keys)
    sets: dict[str, Listing] = {}
    for name, source in sources.items():
        listing = source.read()
        sets[_stored(id_sets, name)] = listing.take(np.flatnonzero(listing.labels(classes.keys) >= 0))
    if train == "draw":
        drawn = id_sets.draw(seed).keys if isinstance(id_sets, ListedID) else id_sets.load(seed).train.keys
        sets[TRAIN] = sets[TRAIN].take(sets[TRAIN].rows_of(drawn))
    for source in ood_sets.sources():
        sets[f"ood/{_stored(ood_sets, source.name)}"] = source.read()
    return Parts(sets, classes)


def _stored(sets: IDSets | OODSets, name: str) -> str:
    return sets.stored_name(name) if isinstance(sets, Stored) else name
