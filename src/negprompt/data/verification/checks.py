"""What can be seen of a set from its listing alone: counts, unknown classes, empty folders. Runs look by themselves."""

from __future__ import annotations

import difflib
import logging
import re
from collections.abc import Iterable, Mapping, Sequence

from negprompt.data.base import Problem, Source
from negprompt.data.contents import Files
from negprompt.data.listing import Listing
from negprompt.data.tree import Paths
from negprompt.data.verification.wording import counted, few, some

log = logging.getLogger(__name__)

_WORDNET_ID = re.compile(r"n\d{8}")


def listing_problems(source: Source, listing: Listing) -> list[Problem]:
    """Counts against the protocol's, classes against the list of classes, and copies where hashes are known."""
    return [*count_problems(source, listing), *_doubled(source, listing)]


def count_problems(source: Source, listing: Listing) -> list[Problem]:
    """Counts against the protocol's, and classes against the list of classes."""
    found = [*_total(source, listing)]
    if source.classes is not None:
        found += [*_unknown(source, listing), *_without_class(source, listing), *_per_class(source, listing)]
    return found


def name_problems(source: Source, listing: Listing) -> list[Problem]:
    """What folders and names say beyond counts: empty folders, and training pictures named after another class."""
    return [*_empty_folders(source, listing), *_named_otherwise(source, listing)]


def warn(problems: Iterable[Problem]) -> None:
    """Say in a run what is wrong; it goes on, and its metrics.json counts what it was tested on."""
    for problem in problems:
        examples = f": {', '.join(problem.examples)}" if problem.examples else ""
        log.warning("%s: %s%s. %s", problem.set_name, problem.what, examples, problem.fix)


def used(source: Source, listing: Listing) -> int:
    """Pictures of the classes that are used; all of them where there are no classes."""
    return len(listing) if source.classes is None else int((listing.labels(source.classes) >= 0).sum())


def _total(source: Source, listing: Listing) -> Iterable[Problem]:
    expected, count = source.expected, used(source, listing)
    if not count:
        yield Problem(source.name, "no picture", expected.fix or "Put pictures there, or leave the set out.")
    elif expected.total is not None and count != expected.total:
        pictures = counted(count, "picture")
        what = f"{pictures}, not the protocol's {expected.total:,}: results are not comparable"
        yield Problem(source.name, what, expected.fix)


def _per_class(source: Source, listing: Listing) -> Iterable[Problem]:
    expected, found = source.expected, _found(source, listing)
    if not any(found.values()):  # said once, as "no picture"
        return
    empty = [key for key, count in found.items() if not count]
    if empty and source.at_least:  # a shifted set need not have them all: ImageNet-R has 200 classes
        have = "has" if len(empty) == 1 else "have"
        what = f"{len(empty):,} of {counted(len(found), 'class', 'classes')} {have} no picture: {some(empty)}"
        fix = expected.fix or "Put their pictures back, or leave these classes out with data.keep_classes=[...]."
        yield Problem(source.name, what, fix)
    few_shot = {key: count for key, count in found.items() if 0 < count < source.at_least}
    if few_shot:
        what = (
            f"{counted(len(few_shot), 'class has', 'classes have')} fewer than {source.at_least} pictures: "
            f"{_with_counts(few_shot)}"
        )
        yield Problem(source.name, what, f"Set data.num_shots to {min(few_shot.values())} or less, or add pictures.")
    if expected.per_class is not None:
        other = {key: count for key, count in found.items() if count and count != expected.per_class}
        if other:
            what = (
                f"{counted(len(other), 'class does', 'classes do')} not have the protocol's "
                f"{counted(expected.per_class, 'picture')}: {_with_counts(other)}"
            )
            yield Problem(source.name, what, expected.fix)


def _found(source: Source, listing: Listing) -> dict[str, int]:
    """Number of pictures of each class that is used."""
    counts = listing.counts()
    return {key: counts.get(key, 0) for key in source.classes or ()}


def _unknown(source: Source, listing: Listing) -> Iterable[Problem]:
    known = {*(source.classes or ()), *source.known}
    unknown = [key for key in listing.classes if key not in known]
    if unknown:
        counts = listing.counts()
        pictures = counted(sum(counts[key] for key in unknown), "picture")
        empty = [key for key, count in _found(source, listing).items() if not count]
        hint = _likely(unknown[0], empty) or _likely(unknown[0], known)
        meant = f" (did you mean {hint!r}?)" if hint else ""
        what = (
            f"{counted(len(unknown), 'class name is', 'class names are')} not in the list of classes: "
            f"{some(unknown)}{meant}; {pictures} left aside"
        )
        fix = "Rename the folder or label to the class that it belongs to, or remove it."
        yield Problem(source.name, what, fix)


def _likely(given: str, names: Iterable[str]) -> str:
    return next(iter(difflib.get_close_matches(given, list(names), n=1, cutoff=0.6)), "")


def _without_class(source: Source, listing: Listing) -> Iterable[Problem]:
    lost = (listing.class_of < 0).nonzero()[0]
    if len(lost):
        examples = few([listing.contents.place(int(row)) for row in lost[:3]], len(lost))
        what = f"{counted(len(lost), 'picture has', 'pictures have')} no class"
        fix = "Move them into the folder of their class, or add them to the list of labels; they are left aside."
        yield Problem(source.name, what, fix, examples=examples)


def _doubled(source: Source, listing: Listing) -> Iterable[Problem]:
    if listing.contents.known is None or not len(listing):
        return
    distinct = len({digest.tobytes() for digest in listing.contents.known})
    if distinct < len(listing):
        what = f"{counted(len(listing) - distinct, 'picture is', 'pictures are')} there twice"
        yield Problem(source.name, what, "Remove the copies: they count more than once.", severe=False)


def _empty_folders(source: Source, listing: Listing) -> Iterable[Problem]:
    """Of a set without classes; an empty folder of a class is a class without pictures."""
    contents = listing.contents
    if source.classes is not None or not isinstance(contents, Files) or not isinstance(contents.paths, Paths):
        return
    empty = contents.paths.empty_folders() if len(listing) else []
    if empty:
        what = f"{counted(len(empty), 'folder has', 'folders have')} no picture"
        fix = f"{source.expected.fix} " if source.expected.fix else "Put the pictures back. "
        fix += "If nothing belongs there, remove the folder."
        yield Problem(source.name, what, fix, examples=few([str(contents.root / folder) for folder in empty]))


def _named_otherwise(source: Source, listing: Listing) -> Iterable[Problem]:
    """ImageNet's training pictures carry their class in the name, so that renamed folders can be seen."""
    if source.side != "train" or not any(_WORDNET_ID.fullmatch(key) for key in listing.classes):
        return
    wrong: list[int] = []
    for row, (key, place) in enumerate(zip(listing.keys, listing.class_of.tolist(), strict=True)):
        named, underscore, _ = key.rpartition("/")[2].partition("_")
        if underscore and place >= 0 and named != listing.classes[place] and _WORDNET_ID.fullmatch(named):
            wrong.append(row)
    if wrong:
        what = f"{counted(len(wrong), 'picture lies', 'pictures lie')} under another class than that in the name"
        fix = "Move them to the class in their name; where whole folders were renamed, rename them back."
        examples = few([listing.contents.place(row) for row in wrong[:3]], len(wrong))
        yield Problem(source.name, what, fix, examples=examples)


def _with_counts(counts: Mapping[str, int]) -> str:
    names: Sequence[str] = [f"{name} ({count:,})" for name, count in counts.items()]
    return some(names)
