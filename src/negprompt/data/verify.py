"""A look at everything a benchmark consists of: counts, labels, every picture, and pictures that are on two sides."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from negprompt.data.base import Expected, IDSets, OODSets, Problem, Source
from negprompt.data.checks import listing_problems
from negprompt.data.contents import Contents
from negprompt.data.decoding import decode, mode_of
from negprompt.data.duplicates import HASH_WORDS, exact_pairs, near_pairs, perceptual_hash
from negprompt.data.listing import Listing
from negprompt.errors import DataError, NegPromptError

_SHOWN = 3
_THREADS = max(1, os.cpu_count() or 1)
_MOST_PAIRS = 5_000_000_000  # about two minutes of comparing hashes on one core

Progress = Callable[[Iterable[Any], str, int], Iterable[Any]]


class SetReport(NamedTuple):
    """What was found of one set: pictures and classes, pictures that were read, and modes other than RGB."""

    name: str
    side: str
    pictures: int
    classes: int
    read: int
    unreadable: int
    modes: dict[str, int]


class Overlap(NamedTuple):
    """Pictures that two sets share: the same file, and pictures that look the same (None: not compared)."""

    left: str
    right: str
    exact: int
    near: int | None
    examples: tuple[str, ...]


class Report(NamedTuple):
    """The outcome of `verify`."""

    sets: tuple[SetReport, ...]
    overlaps: tuple[Overlap, ...]
    problems: tuple[Problem, ...]

    @property
    def severe(self) -> list[Problem]:
        """What makes the check fail."""
        return [problem for problem in self.problems if problem.severe]


class _Read(NamedTuple):
    """The pictures of one set, read: content hashes (N, 32), perceptual hashes (N, W)."""

    source: Source
    listing: Listing
    sha256: npt.NDArray[np.uint8]
    looks: npt.NDArray[np.uint64]


class _Seen(NamedTuple):
    sha256: bytes
    looks: npt.NDArray[np.uint64]
    mode: str
    error: str


def verify(
    id_sets: IDSets,
    ood_sets: OODSets,
    *,
    pictures: Literal["all", "draw", "none"],
    counts: Literal["protocol", "any"],
    seed: int,
    folders: Sequence[Path],
    progress: Progress,
) -> Report:
    """Look at a benchmark; finds what is wrong and goes on, so that one call shows everything.

    Args:
        id_sets: settings of the ID sets.
        ood_sets: settings of the OOD sets.
        pictures: read and decode all pictures, of the training set only the few-shot draw of `seed`, or none.
        counts: compare numbers of pictures with the protocol's, or take what is there.
        seed: of the draw.
        folders: that runs write into; each is tried.
        progress: wraps an iterable of a known length for a progress bar (iterable, text, total).
    """
    problems: list[Problem] = [*_folder_problems(folders)]
    reports: list[SetReport] = []
    read: list[_Read] = []
    for source in [*_sources(id_sets, problems), *_sources(ood_sets, problems)]:
        listing = _listing(source, problems)
        if listing is None:
            continue
        if counts == "any":
            source = source._replace(expected=Expected())
        problems += listing_problems(source, listing)
        if source.classes is not None:
            listing = listing.take(np.flatnonzero(listing.labels(source.classes) >= 0))
        some = _some(source, listing, id_sets, pictures, seed, problems)
        seen = list(progress(_seen(some), f"reading {source.name}", len(some)))
        problems += _picture_problems(source, some, seen)
        reports.append(_report(source, listing, seen))
        read.append(_together(source, some, seen))
    problems += _doubts(id_sets) + _doubts(ood_sets)
    overlaps = tuple(_overlaps(read, progress))
    problems += [problem for overlap in overlaps for problem in _overlap_problems(overlap)]
    return Report(tuple(reports), overlaps, tuple(problems))


def _sources(sets: IDSets | OODSets, problems: list[Problem]) -> list[Source]:
    try:
        return sets.sources()
    except NegPromptError as error:
        problems.append(Problem(sets.name, *_two_parts(error)))
        return []


def _listing(source: Source, problems: list[Problem]) -> Listing | None:
    try:
        return source.read()
    except NegPromptError as error:
        problems.append(Problem(source.name, *_two_parts(error)))
        return None


def _doubts(sets: IDSets | OODSets) -> list[Problem]:
    try:
        return sets.doubts()
    except NegPromptError:  # a listing that cannot be read was reported above
        return []


def _two_parts(error: NegPromptError) -> tuple[str, str]:
    """What is wrong and what to do, from one message."""
    return str(error).rstrip("."), ""


def _some(
    source: Source,
    listing: Listing,
    id_sets: IDSets,
    pictures: Literal["all", "draw", "none"],
    seed: int,
    problems: list[Problem],
) -> Listing:
    """Pictures of a set that are read."""
    if pictures == "none":
        return listing.take(np.zeros(0, np.int64))
    if pictures == "all" or source.side != "train":
        return listing
    try:
        drawn = id_sets.load(seed).train
    except NegPromptError as error:
        problems.append(Problem(source.name, *_two_parts(error)))
        return listing.take(np.zeros(0, np.int64))
    rows = listing.rows_of(drawn.keys)
    return listing.take(rows[rows >= 0])


def _seen(listing: Listing) -> Iterator[_Seen]:
    """A look at each picture, in order, by threads a little ahead: decoding gives the interpreter's lock back."""
    ahead = 32 * _THREADS
    with ThreadPoolExecutor(_THREADS) as pool:
        for start in range(0, len(listing), ahead):
            rows = range(start, min(start + ahead, len(listing)))
            yield from pool.map(lambda row: _look(listing.contents, row), rows)


def _look(contents: Contents, row: int) -> _Seen:
    nothing = np.zeros(HASH_WORDS, np.uint64)
    try:
        encoded = contents.read(row)
        image = decode(encoded, contents.place(row), "the set")
    except DataError as error:
        return _Seen(b"", nothing, "", str(error))
    return _Seen(hashlib.sha256(encoded).digest(), perceptual_hash(image), mode_of(encoded), "")


def _picture_problems(source: Source, listing: Listing, seen: Sequence[_Seen]) -> Iterator[Problem]:
    bad = [one.error for one in seen if one.error]
    if bad:
        shown = " ".join(bad[:_SHOWN])
        what = f"{len(bad)} of {len(listing)} pictures cannot be read: {shown}"
        fix = "Get these files again; or set data.corrupt=skip: they are left out, and counted in the result."
        yield Problem(source.name, what, fix)


def _report(source: Source, listing: Listing, seen: Sequence[_Seen]) -> SetReport:
    modes = Counter(one.mode for one in seen if one.mode not in ("", "RGB"))
    classes = sum(count > 0 for count in listing.counts().values())
    unreadable = sum(bool(one.error) for one in seen)
    return SetReport(source.name, source.side, len(listing), classes, len(seen), unreadable, dict(modes))


def _together(source: Source, listing: Listing, seen: Sequence[_Seen]) -> _Read:
    good = np.array([row for row, one in enumerate(seen) if not one.error], np.int64)
    sha256 = np.frombuffer(b"".join(seen[row].sha256 for row in good), np.uint8).reshape(-1, 32)
    looks = np.array([seen[row].looks for row in good], np.uint64).reshape(-1, HASH_WORDS)
    return _Read(source, listing.take(good), sha256, looks)


def _overlaps(read: Sequence[_Read], progress: Progress) -> Iterator[Overlap]:
    """Pairs of sets on different sides."""
    pairs = [(left, right) for left, right in combinations(read, 2) if left.source.side != right.source.side]
    for left, right in progress(pairs, "comparing sets", len(pairs)):
        exact = exact_pairs(left.sha256, right.sha256)
        compared = len(left.looks) * len(right.looks) <= _MOST_PAIRS
        near = near_pairs(left.looks, right.looks) if compared else np.zeros((0, 2), np.int64)
        same = {int(row) for row in exact[:, 1]}
        near = near[[int(row) not in same for row in near[:, 1]]] if len(near) else near
        examples = tuple(
            f"{left.listing.contents.place(int(one))} = {right.listing.contents.place(int(other))}"
            for one, other in [*exact[:_SHOWN], *near[: _SHOWN - min(_SHOWN, len(exact))]]
        )
        looks_same = len({int(row) for row in near[:, 1]}) if compared else None
        if len(exact) or looks_same or looks_same is None:
            yield Overlap(left.source.name, right.source.name, len(exact), looks_same, examples)


def _overlap_problems(overlap: Overlap) -> Iterator[Problem]:
    sides = f"{overlap.left} and {overlap.right}"
    shown = "; ".join(overlap.examples)
    if overlap.exact:
        what = f"{overlap.exact} pictures of {overlap.right} are in {overlap.left} too: {shown}"
        yield Problem(sides, what, "Remove them from one of the two: a result on them says nothing.")
    if overlap.near:
        what = f"{overlap.near} pictures of {overlap.right} look like one of {overlap.left}"
        what += "" if overlap.exact else f": {shown}"
        yield Problem(sides, what, "Look at them; remove what is the same picture.", severe=False)
    if overlap.near is None:
        fix = "Set pictures=draw to compare with the few-shot pictures only."
        yield Problem(sides, "too many pairs to look for near duplicates; equal files were", fix, severe=False)


def _folder_problems(folders: Sequence[Path]) -> Iterator[Problem]:
    """Folders that runs remember things in: made and written here."""
    for folder in folders:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder) as file:
                file.write(b"x")
        except OSError as error:
            what = f"{folder} cannot be written ({error.strerror})"
            fix = "Every run would list and hash all pictures again: set paths.cache_dir to a folder of yours."
            yield Problem("cache", what, fix)
