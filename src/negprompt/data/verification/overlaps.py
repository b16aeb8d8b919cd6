"""Pictures that stand on two sides of a benchmark, and those that one set holds more than once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from negprompt.data.base import Problem
from negprompt.data.verification.duplicates import exact_pairs, near_pairs
from negprompt.data.verification.sightings import Progress, Sightings, place
from negprompt.data.verification.wording import counted, few, some

_MOST_PAIRS = 5_000_000_000  # twice 50,000 x 50,000, less than a minute on one core when it was tried
_SHOWN = 3
EQUALS = " = "
"""Between two places of one picture."""


class Overlap(NamedTuple):
    """Pictures that two sets share: pairs (row in left, row in right) of equal files, and of those that look alike.

    `exact_drawn` (K,): whether the file is in the few-shot draw, all true where `left` is no training set. `alike`
    counts rows in `drawn`, which is `left` or, where that has too many pictures to compare, its few-shot draw. None
    where these are too many as well.
    """

    left: Sightings
    right: Sightings
    exact: npt.NDArray[np.int64]
    exact_drawn: npt.NDArray[np.bool_]
    drawn: Sightings
    alike: npt.NDArray[np.int64] | None


def overlaps(seen: Sequence[Sightings], draw: Sightings | None, progress: Progress) -> Iterator[Overlap]:
    """Every two sets on different sides.

    Args:
        seen: the sets, the ID side first.
        draw: few-shot pictures among the training ones, for comparisons that would take too long with all of them.
        progress: wraps an iterable of a known length for a progress bar.
    """
    pairs = [(left, right) for left, right in combinations(seen, 2) if _must_differ(left, right)]
    for left, right in progress(pairs, "comparing sets", len(pairs)):
        exact = exact_pairs(left.sha256, right.sha256)
        few_shot = left.source.side == "train" and draw is not None and _too_many(left, right)
        compared = draw if few_shot and draw is not None else left
        alike = None
        if not _too_many(compared, right):
            alike = near_pairs(compared.looks, right.looks)
            alike = alike[~np.isin(alike[:, 1], exact[:, 1])]
        yield Overlap(left, right, exact, _in_draw(left, exact, draw), compared, alike)


def _in_draw(left: Sightings, exact: npt.NDArray[np.int64], draw: Sightings | None) -> npt.NDArray[np.bool_]:
    """Which of the shared files a run would train on."""
    if left.source.side != "train" or draw is None:
        return np.ones(len(exact), bool)
    drawn = {digest.tobytes() for digest in draw.sha256}
    return np.array([left.sha256[row].tobytes() in drawn for row in exact[:, 0]], bool)


def _too_many(left: Sightings, right: Sightings) -> bool:
    return len(left.looks) * len(right.looks) > _MOST_PAIRS


def overlap_problems(found: Sequence[Overlap]) -> Iterator[Problem]:
    """Equal files are problems; pictures that look alike are warnings, for a person to look at."""
    for overlap in found:
        yield from _exact_problems(overlap)
        yield from _near_problems(overlap)
    unknown = [_names(overlap) for overlap in found if overlap.alike is None]
    if unknown:
        what = f"too many pairs for near duplicates, only equal files were looked for: {some(unknown)}"
        yield Problem("near duplicates", what, "Set pictures=draw to look at fewer training pictures.", severe=False)
    drawn = sorted({overlap.drawn.source.name for overlap in found if overlap.drawn is not overlap.left})
    if drawn:
        what = f"too many training pictures for near duplicates, these were looked for in {drawn[0]} only"
        yield Problem("near duplicates", what, "Set another seed to look at other draws.", severe=False)


def repeats(seen: Sightings) -> Iterator[Problem]:
    """Equal files inside one set, and those of them that stand under several classes."""
    plain: list[npt.NDArray[np.int64]] = []
    torn: list[npt.NDArray[np.int64]] = []
    for rows in _equal_rows(seen.sha256):
        several = len(set(seen.listing.class_of[rows].tolist())) > 1
        (torn if several else plain).append(rows)
    if plain:
        copies = sum(len(rows) - 1 for rows in plain)
        what = f"{counted(copies, 'picture is a copy of another', 'pictures are copies of others')} in the same set"
        fix = "Remove the copies: they count more than once."
        yield Problem(seen.source.name, what, fix, severe=False, examples=_examples(seen, plain, copies))
    if torn:
        what = f"{counted(len(torn), 'picture is', 'pictures are')} under several classes"
        fix = "Keep each of them under one class."
        yield Problem(seen.source.name, what, fix, severe=False, examples=_examples(seen, torn, len(torn)))


def _equal_rows(sha256: npt.NDArray[np.uint8]) -> list[npt.NDArray[np.int64]]:
    """Rows of equal hashes (N, 32), for each hash that is there more than once."""
    if len(sha256) < 2:
        return []
    hashes = np.ascontiguousarray(sha256).view(np.uint64)
    order = np.lexsort(hashes.T)
    first = np.flatnonzero((hashes[order][1:] != hashes[order][:-1]).any(axis=1)) + 1
    groups = [np.sort(rows) for rows in np.split(order, first) if len(rows) > 1]
    return sorted(groups, key=lambda rows: int(rows[0]))


def _must_differ(left: Sightings, right: Sightings) -> bool:
    """Test sets and shifted ones may share pictures: ImageNet-C is made of ImageNet's."""
    sides = {left.source.side, right.source.side}
    return len(sides) == 2 and sides != {"test", "shifted"}


def _exact_problems(overlap: Overlap) -> Iterator[Problem]:
    left, right = overlap.left.source, overlap.right.source
    if right.side == "ood":
        fix = f"Remove from {right.name}, or from {left.name}: a picture cannot be ID and OOD."
        yield from _shared(overlap, overlap.exact, left.name, fix)
        return
    fix = "Remove from one of the two: a test on pictures that were trained on says nothing."
    yield from _shared(overlap, overlap.exact[overlap.exact_drawn], left.name, fix)
    others = f"{left.name} (outside of this seed's few-shot draw)"
    fix = "A run with another seed or more shots may train on them."
    yield from _shared(overlap, overlap.exact[~overlap.exact_drawn], others, fix, severe=False)


def _shared(
    overlap: Overlap, pairs: npt.NDArray[np.int64], where: str, fix: str, *, severe: bool = True
) -> Iterator[Problem]:
    if len(pairs):
        what = f"{counted(len(pairs), 'picture')} of {overlap.right.source.name} {_is(len(pairs))} in {where} too"
        examples = _pairs(overlap.left, overlap.right, pairs, len(pairs))
        yield Problem(_names(overlap), what, fix, severe, examples)


def _near_problems(overlap: Overlap) -> Iterator[Problem]:
    if overlap.alike is not None and len(overlap.alike):
        rows, first = np.unique(overlap.alike[:, 1], return_index=True)
        pictures, verb = counted(len(rows), "picture"), "looks" if len(rows) == 1 else "look"
        what = f"{pictures} of {overlap.right.source.name} {verb} like one of {overlap.drawn.source.name}"
        fix = "Look at them, and remove what is the same picture."
        examples = _pairs(overlap.drawn, overlap.right, overlap.alike[first], len(rows))
        yield Problem(_names(overlap), what, fix, severe=False, examples=examples)


def _names(overlap: Overlap) -> str:
    return f"{overlap.left.source.name} and {overlap.right.source.name}"


def _is(count: int) -> str:
    return "is" if count == 1 else "are"


def _pairs(left: Sightings, right: Sightings, pairs: npt.NDArray[np.int64], total: int) -> tuple[str, ...]:
    shown = [
        f"{place(right.listing, other)}{EQUALS}{place(left.listing, one)}" for one, other in pairs[:_SHOWN].tolist()
    ]
    return few(shown, total)


def _examples(seen: Sightings, groups: Sequence[npt.NDArray[np.int64]], total: int) -> tuple[str, ...]:
    shown = [
        f"{place(seen.listing, int(rows[1]))}{EQUALS}{place(seen.listing, int(rows[0]))}" for rows in groups[:_SHOWN]
    ]
    return few(shown, total)
