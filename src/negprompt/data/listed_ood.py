"""OOD sets that are listings."""

from __future__ import annotations

import abc
import functools
from collections.abc import Iterator

import numpy as np

from negprompt.data.base import Expected, OODSets, Problem, Source
from negprompt.data.listing import Listing
from negprompt.data.stored import Stored
from negprompt.data.verification.checks import listing_problems, warn
from negprompt.errors import ConfigError, DataError, nearest
from negprompt.types import ImageSet


class ListedOOD(OODSets, Stored):
    """A group of OOD sets that are listings; `sets`: those to use, in the order of the table's columns."""

    @abc.abstractmethod
    def set_names(self) -> tuple[str, ...]:
        """Names of the sets."""

    @abc.abstractmethod
    def list_set(self, name: str) -> Listing:
        """Pictures of one set as they lie on the disk."""

    def listing(self, name: str) -> Listing:
        """Pictures of one set: from shards where they are used, else from files."""
        folder = self.shard_folder
        return self.list_set(name) if folder is None else folder.listing(f"ood/{self.stored_name(name)}")

    def left_out(self, name: str) -> int:
        """Pictures of one set that the preparation of its shards left out."""
        folder = self.shard_folder
        return 0 if folder is None else folder.dropped(f"ood/{self.stored_name(name)}")

    def load(self) -> dict[str, ImageSet]:
        """List the pictures of each set."""
        return dict(self._load())

    def _load(self) -> Iterator[tuple[str, ImageSet]]:
        for source in self.sources():
            name, listing = source.name, source.read()
            if not len(listing):
                msg = f"OOD set {name} has no picture: run negprompt data verify to see why."
                raise DataError(msg)
            warn([*listing_problems(source, listing), *self.doubts_of(name)])
            looked = self.looked(listing, name)
            images = looked.image_set(name, np.full(len(looked), -1, np.int64))
            yield name, images._replace(dropped=len(listing) - len(looked) + self.left_out(name))

    def expected(self, set_name: str) -> Expected:
        """What the protocol counts in a set; nothing by default."""
        del set_name
        return Expected()

    def doubts_of(self, set_name: str) -> list[Problem]:
        """What can be seen to be wrong with a set beyond counts; nothing by default."""
        del set_name
        return []

    def doubts(self) -> list[Problem]:
        """Those of all sets."""
        return [one for name in self.set_names() for one in self.doubts_of(name)]

    def sources(self) -> list[Source]:
        """All sets."""
        return [
            Source(name, "ood", functools.partial(self.listing, name), expected=self.expected(name))
            for name in self.set_names()
        ]


def chosen(sets: list[str] | None, known: tuple[str, ...]) -> tuple[str, ...]:
    """OOD sets to use.

    Raises:
        ConfigError: an unknown one, or none.
    """
    if sets is None:
        return known
    if not sets:
        msg = f"ood.sets=[] leaves no OOD set; allowed: {', '.join(known)}."
        raise ConfigError(msg)
    for name in sets:
        if name not in known:
            msg = f"ood.sets: unknown OOD set {name!r}; {nearest(name, known)}."
            raise ConfigError(msg)
    return tuple(sets)
