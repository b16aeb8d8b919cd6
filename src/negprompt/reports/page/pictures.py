"""Pictures inside the page, and the hardest mistakes in sets that are looked at together."""

from __future__ import annotations

import base64
from typing import Literal, NamedTuple

from negprompt.reports.document import Mistake, Mistakes
from negprompt.reports.page.links import Links, Place


class MistakeSet(NamedTuple):
    """Pictures of one data set, worst first."""

    kind: Literal["id", "ood"]
    data_set: str
    pictures: list[Mistake]


class MistakesView(NamedTuple):
    """The mistakes of one run: those of the ID set and of each OOD set."""

    id: str
    run: Place
    score: str
    threshold: float
    sets: list[MistakeSet]

    def crossed(self, picture: Mistake) -> bool:
        """Say whether a picture lies on the wrong side of the threshold: ID reaches it, OOD does not."""
        return (picture.score >= self.threshold) == (picture.kind == "ood")


def view(mistakes: Mistakes, links: Links) -> MistakesView:
    """Sort the pictures of a run into sets, in the order of their first pictures."""
    sets: dict[tuple[Literal["id", "ood"], str], list[Mistake]] = {}
    for picture in mistakes.pictures:
        sets.setdefault((picture.kind, picture.data_set), []).append(picture)
    return MistakesView(
        links.id("mistakes", mistakes.run),
        links.run(mistakes.run),
        mistakes.score,
        mistakes.threshold,
        [MistakeSet(*key, sorted(pictures, key=lambda one: one.rank)) for key, pictures in sets.items()],
    )


def data_uri(content: bytes, kind: Literal["png", "svg+xml"]) -> str:
    """Write a picture as an address that holds the picture itself.

    A vector figure is no part of the page this way: its ids and styles stay its own, and a script in it does not run.

    Example:
        >>> data_uri(b"picture", "png")
        'data:image/png;base64,cGljdHVyZQ=='
    """
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"
