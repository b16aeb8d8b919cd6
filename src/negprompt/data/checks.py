"""What can be seen of a set from its listing alone: counts, unknown classes, empty folders. Runs look by themselves."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

from negprompt.data.base import Problem, Source
from negprompt.data.listing import Listing
from negprompt.errors import nearest

log = logging.getLogger(__name__)

_SHOWN = 5


def listing_problems(source: Source, listing: Listing) -> list[Problem]:
    """Counts against the protocol's, and classes against the list of classes."""
    found = [*_total(source, listing), *_doubled(source, listing)]
    if source.classes is not None:
        found += [*_unknown(source, listing), *_without_class(source, listing), *_per_class(source, listing)]
    return found


def warn(problems: Iterable[Problem]) -> None:
    """Say in a run what is wrong; it goes on, and its metrics.json counts what it was tested on."""
    for problem in problems:
        log.warning("%s: %s. %s", problem.set_name, problem.what, problem.fix)


def _total(source: Source, listing: Listing) -> Iterable[Problem]:
    expected, count = source.expected, used(source, listing)
    if not count:
        yield Problem(source.name, "no picture", expected.fix or "Put pictures there, or leave the set out.")
    elif expected.total is not None and count != expected.total:
        what = (
            f"{count:,} pictures, the protocol has {expected.total:,}: results cannot be compared with published ones"
        )
        yield Problem(source.name, what, expected.fix)


def used(source: Source, listing: Listing) -> int:
    """Pictures of the classes that are used; all of them where there are no classes."""
    return len(listing) if source.classes is None else int((listing.labels(source.classes) >= 0).sum())


def _per_class(source: Source, listing: Listing) -> Iterable[Problem]:
    counts, expected = listing.counts(), source.expected
    found = {key: counts.get(key, 0) for key in source.classes or ()}
    empty = [key for key, count in found.items() if not count]
    if empty:
        what = f"{len(empty)} of {len(found)} classes have no picture: {_some(empty)}"
        fix = expected.fix or "Put their pictures back, or leave these classes out with data.keep_classes=[...]."
        yield Problem(source.name, what, fix)
    few = {key: count for key, count in found.items() if 0 < count < source.at_least}
    if few:
        what = f"{len(few)} classes have fewer than {source.at_least} pictures: {_counted(few)}"
        yield Problem(source.name, what, f"Lower data.num_shots to {min(few.values())}, or add pictures.")
    if expected.per_class is not None:
        other = {key: count for key, count in found.items() if count and count != expected.per_class}
        if other:
            what = f"{len(other)} classes do not have the protocol's {expected.per_class} pictures: {_counted(other)}"
            yield Problem(source.name, what, expected.fix)


def _unknown(source: Source, listing: Listing) -> Iterable[Problem]:
    known = {*(source.classes or ()), *source.known}
    unknown = [key for key in listing.classes if key not in known]
    if unknown:
        hint = nearest(unknown[0], known)
        what = f"{len(unknown)} class names are not in the list of classes: {_some(unknown)} ({hint})"
        fix = "Rename the folder or label to the class it belongs to, or remove it: its pictures are not used."
        yield Problem(source.name, what, fix)


def _without_class(source: Source, listing: Listing) -> Iterable[Problem]:
    lost = [listing.keys[int(row)] for row in (listing.class_of < 0).nonzero()[0][:_SHOWN]]
    if lost:
        count = int((listing.class_of < 0).sum())
        what = f"{count} pictures have no class: {', '.join(lost)}"
        fix = "Move them into the folder of their class, or add them to the list of labels; they are not used."
        yield Problem(source.name, what, fix)


def _doubled(source: Source, listing: Listing) -> Iterable[Problem]:
    if listing.contents.known is None or not len(listing):
        return
    distinct = len({digest.tobytes() for digest in listing.contents.known})
    if distinct < len(listing):
        what = f"{len(listing) - distinct} pictures are there twice"
        yield Problem(source.name, what, "Remove the copies; they count more than once.", severe=False)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")


def _counted(counts: dict[str, int]) -> str:
    return _some([f"{name} ({count})" for name, count in counts.items()])
