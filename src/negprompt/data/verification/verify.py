"""A look at everything a benchmark consists of: counts, labels, every picture, and pictures that are on two sides."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from negprompt.data.base import Expected, IDSets, OODSets, Problem, Source
from negprompt.data.contents import Files
from negprompt.data.listed import ListedID
from negprompt.data.listing import Listing
from negprompt.data.looked import missing
from negprompt.data.tree import Paths
from negprompt.data.verification.checks import count_problems, listing_problems, name_problems
from negprompt.data.verification.draws import draw_problems, drawn_rows
from negprompt.data.verification.overlaps import overlap_problems, overlaps, repeats
from negprompt.data.verification.sightings import Progress, Sightings, fault_problems, see
from negprompt.data.verification.wording import few
from negprompt.errors import ConfigError, NegPromptError

Result = TypeVar("Result")


class Wanted(NamedTuple):
    """What `verify` looks at.

    `pictures`: read and decode all, of the training pictures only the few-shot draw of `seed`, or none. `counts`:
    compare numbers of pictures with the protocol's, or take what is there.
    """

    pictures: Literal["all", "draw", "none"] = "all"
    counts: Literal["protocol", "any"] = "protocol"
    seed: int = 1


class SetReport(NamedTuple):
    """What was found of one set; `classes`: how many of `used_classes` have pictures; `modes`: those other than RGB."""

    name: str
    side: str
    pictures: int
    classes: int
    used_classes: int
    read: int
    unreadable: int
    modes: dict[str, int]


class Report(NamedTuple):
    """The outcome of `verify`: sets, and problems in the order of the sets."""

    sets: tuple[SetReport, ...]
    problems: tuple[Problem, ...]

    @property
    def severe(self) -> list[Problem]:
        """What makes the check fail."""
        return [problem for problem in self.problems if problem.severe]


def _silent(items: Iterable[object], text: str, total: int) -> Iterable[object]:
    del text, total
    return items


def verify(
    id_sets: IDSets,
    ood_sets: OODSets,
    wanted: Wanted | None = None,
    *,
    folders: Mapping[str, Path] | None = None,
    progress: Progress = _silent,
) -> Report:
    """Look at a benchmark; finds what is wrong and goes on, so that one call shows everything.

    Args:
        id_sets: settings of the ID sets.
        ood_sets: settings of the OOD sets.
        wanted: what is looked at; by default everything.
        folders: that runs write into, by the setting that names them; each is tried.
        progress: wraps an iterable of a known length for a progress bar (iterable, text, total).

    Raises:
        ConfigError: a setting of the sets has a wrong value.
    """
    look = _Look(wanted or Wanted(), progress)
    look.at(id_sets, ood_sets)
    shared = overlap_problems(list(overlaps(look.seen, look.draw, progress)))
    return Report(tuple(look.reports), (*look.problems, *shared, *_folder_problems(folders or {})))


class _Look:
    """Set by set, what was found so far."""

    def __init__(self, wanted: Wanted, progress: Progress) -> None:
        self.problems: list[Problem] = []
        self.reports: list[SetReport] = []
        self.seen: list[Sightings] = []
        self.draw: Sightings | None = None
        self._wanted = wanted
        self._progress = progress

    def at(self, *benchmark: IDSets | OODSets) -> None:
        """List all sets before any picture is read: that takes hours, and what is seen at once is said at once."""
        listed = [(sets, *found) for sets in benchmark for found in self._listed(sets)]
        for sets, source, listing in listed:
            self._at_set(sets, source, listing)

    def _listed(self, sets: IDSets | OODSets) -> list[tuple[Source, Listing]]:
        none: list[Source] = []
        listings = [(one, self._tried(one.name, one.read, None)) for one in self._tried(sets.name, sets.sources, none)]
        if not isinstance(sets, ListedID):  # whose doubts are looked at set by set, so that one missing set hides none
            self.problems += self._tried(sets.name, sets.doubts, [])
        return [(source, listing) for source, listing in listings if listing is not None]

    def _at_set(self, sets: IDSets | OODSets, source: Source, listing: Listing) -> None:
        if self._wanted.counts == "any":
            source = source._replace(expected=Expected(fix=source.expected.fix))
        reads = self._wanted.pictures != "none"
        # Equal files are looked for among the pictures that are read, with their names.
        self.problems += (count_problems if reads else listing_problems)(source, listing)
        self.problems += name_problems(source, listing)
        self.problems += () if reads else _missing_problems(source, listing)
        if isinstance(sets, ListedID):
            self.problems += self._tried(source.name, lambda: sets.doubts_of(source.name, listing), [])
        used = _used(source, listing)
        rows = np.arange(len(used) if reads else 0)
        drawn: npt.NDArray[np.int64] | None = None
        if source.side == "train" and isinstance(sets, IDSets):
            self.problems += self._tried(source.name, lambda: list(draw_problems(sets, listing)), [])
            drawn = self._tried(source.name, lambda: drawn_rows(sets, used, self._wanted.seed), rows[:0])
            rows = drawn if self._wanted.pictures == "draw" else rows
        sights = see(source, used if len(rows) == len(used) else used.take(rows), self._progress)
        if drawn is not None:
            self.draw = _of_draw(sights, [used.keys[int(row)] for row in drawn], self._wanted.seed)
        self.problems += [*fault_problems(sights, _skipping(sets)), *repeats(sights)]
        self.reports.append(_report(source, used, sights))
        self.seen.append(sights)

    def _tried(self, name: str, action: Callable[[], Result], otherwise: Result) -> Result:
        """The result, or a problem and something else to go on with."""
        try:
            return action()
        except ConfigError:
            raise
        except NegPromptError as error:
            self._failed(name, *_two_parts(str(error)))
        except OSError as error:
            what = f"{error.filename} cannot be read ({error.strerror})"
            self._failed(name, what, "Check the path and its permissions.")
        except Exception as error:  # noqa: BLE001 -- whatever a reader stumbles over, the other sets are looked at
            what = f"the set cannot be looked at ({type(error).__name__}: {error})"
            self._failed(name, what, "Compare its files with the layout in docs/data.md.")
        return otherwise

    def _failed(self, name: str, what: str, fix: str) -> None:
        """Keep a problem; what keeps several sets from being looked at is said once."""
        for place, problem in enumerate(self.problems):
            if (problem.what, problem.fix) == (what, fix):
                names = problem.set_name.split(", ")
                both = problem.set_name if name in names else ", ".join([*names, name])
                self.problems[place] = problem._replace(set_name=both)
                return
        self.problems.append(Problem(name, what, fix))


def _two_parts(message: str) -> tuple[str, str]:
    """What is wrong and what to do: the first sentence, and the others."""
    what, *others = re.split(r"(?<=[^.]\.)\s+(?=[A-Z])", message, maxsplit=1)
    return what.removesuffix("."), "".join(others)


def _used(source: Source, listing: Listing) -> Listing:
    """The pictures of classes that are used."""
    if source.classes is None:
        return listing
    known = listing.labels(source.classes) >= 0
    return listing if known.all() else listing.take(np.flatnonzero(known))


def _missing_problems(source: Source, listing: Listing) -> Iterator[Problem]:
    """Listed files that are not there, where no picture is read; those of a folder were seen in it."""
    contents = listing.contents
    if isinstance(contents, Files) and not isinstance(contents.paths, Paths) and (gone := missing(contents)):
        what = f"{len(gone):,} of {len(listing):,} listed pictures {'is' if len(gone) == 1 else 'are'} missing"
        fix = source.expected.fix or "Put them back, or take them out of the list."
        yield Problem(source.name, what, fix, examples=few(list(map(str, gone))))


def _of_draw(sights: Sightings, keys: Sequence[str], seed: int) -> Sightings:
    rows = sights.listing.rows_of(keys)
    rows = rows[rows >= 0]
    return sights._replace(
        source=sights.source._replace(name=f"the few-shot draw of seed {seed}"),
        listing=sights.listing.take(rows),
        sha256=sights.sha256[rows],
        looks=sights.looks[rows],
    )


def _skipping(sets: IDSets | OODSets) -> str:
    """Setting under which runs leave out pictures that cannot be decoded."""
    group = "data" if isinstance(sets, IDSets) else "ood"
    return f"{group}.corrupt=skip" if "corrupt" in type(sets).model_fields else ""


def _report(source: Source, used: Listing, sights: Sightings) -> SetReport:
    counts = used.counts()
    with_pictures = sum(counts.get(key, 0) > 0 for key in source.classes or ())
    modes = {mode: count for mode, count in sights.modes.items() if mode != "RGB"}
    return SetReport(
        name=source.name,
        side=source.side,
        pictures=len(used),
        classes=with_pictures,
        used_classes=len(source.classes or ()),
        read=len(sights.read),
        unreadable=sights.unreadable,
        modes=modes,
    )


def _folder_problems(folders: Mapping[str, Path]) -> Iterator[Problem]:
    """Folders that runs remember things in; nothing is left there."""
    for setting, folder in folders.items():
        there = next((above for above in (folder, *folder.parents) if _is_there(above)), folder)
        try:
            with tempfile.TemporaryFile(dir=there) as file:
                file.write(b"x")
        except OSError as error:
            reason = "a file is in its place" if isinstance(error, NotADirectoryError) else error.strerror
            what = f"{folder} cannot be written ({reason})"
            fix = f"Set {setting} to a folder of yours: what is not kept there is made again by every run."
            yield Problem(setting, what, fix)


def _is_there(path: Path) -> bool:
    try:
        path.lstat()
    except OSError:
        return False
    return True
