"""`negprompt data list`: the known data sets, where to get them, and whether they are here."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from negprompt.cli.build import Paths, settings, target
from negprompt.data.at_hand import Homes, Place, find
from negprompt.data.catalogue import Entry, catalogue, entries_named
from negprompt.data.conventional import ConventionalOOD
from negprompt.data.imagenet import ImageNetID
from negprompt.data.openood import OpenOODID
from negprompt.data.tiny_imagenet import TinyImageNetID
from negprompt.settings import Settings


class Options(Settings):
    """Which sets are shown."""

    name: str | None


def check(config: dict[str, Any]) -> None:
    """Refuse bad settings and unknown names before anything is looked for."""
    _chosen(config)
    _homes(config)


def job(config: dict[str, Any]) -> None:
    """Print what is known of each set; that none is here is no failure."""
    shown, homes = _chosen(config), _homes(config)
    data_root = settings(Paths, config["paths"], "paths").data_root
    places = [find(entry, homes) for entry in shown]
    in_full = _name(config) is not None
    console = Console()
    for entry, place in zip(shown, places, strict=True):
        console.print(_heading(entry, place))
        console.print(_facts(_rows(entry, place, data_root, in_full=in_full)))
        console.print()
    if len(shown) > 1:
        console.print(_facts(_summary(shown, places, data_root)))
    if not in_full:
        console.print("\nOne set in full: negprompt data list NAME", highlight=False)


def _name(config: dict[str, Any]) -> str | None:
    return settings(Options, {"name": config["name"]}, "").name


def _chosen(config: dict[str, Any]) -> tuple[Entry, ...]:
    name = _name(config)
    return catalogue() if name is None else entries_named(name)


def _homes(config: dict[str, Any]) -> Homes:
    return Homes(
        imagenet_1k=target(ImageNetID, config["imagenet_1k"], "imagenet_1k"),
        conventional=target(ConventionalOOD, config["conventional"], "conventional"),
        tiny_imagenet=target(TinyImageNetID, config["tiny_imagenet"], "tiny_imagenet"),
        openood=target(OpenOODID, config["openood"], "openood"),
    )


def _heading(entry: Entry, place: Place) -> Text:
    state = ("here", "green") if place.path is not None else ("missing", "yellow")
    pictures = "" if entry.pictures is None else f", {entry.pictures:,} pictures"
    return Text.assemble((entry.key, "bold"), ": ", state, f" ({entry.kind}{pictures})")


def _rows(entry: Entry, place: Place, data_root: str, *, in_full: bool) -> Iterable[tuple[str, str]]:
    yield "what", entry.what
    yield "use with", _shortened(entry.used_by)
    yield "terms", entry.licence
    yield "size", entry.size
    yield "get it", entry.source
    if place.path is not None:
        yield "found in", str(place.path)
    else:
        yield "put it", f"in {Path(data_root) / entry.folder}"
    if in_full:
        yield from (("note", note) for note in entry.notes)
        if place.missing:
            yield "missing", place.missing


def _summary(shown: Sequence[Entry], places: Sequence[Place], data_root: str) -> Iterable[tuple[str, str]]:
    """The same once more, short enough to be seen at once."""
    for label, is_here in (("here", True), ("missing", False)):
        keys = [entry.key for entry, place in zip(shown, places, strict=True) if (place.path is not None) == is_here]
        yield label, f"{len(keys)} of {len(shown)}{':' if keys else ''} {', '.join(keys)}"
    yield "looked in", f"paths.data_root={data_root}"


def _facts(rows: Iterable[tuple[str, str]]) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")  # an address that is cut cannot be copied
    for label, text in rows:
        table.add_row(f"  {label}", Text(text))
    return table


def _shortened(options: Sequence[str]) -> str:
    """Options as one line, numbered ones as a range.

    Example:
        >>> _shortened(["data=icons", "data=icons_hard_1", "data=icons_hard_2", "ood=icons"])
        'data=icons, data=icons_hard_1 to 2, ood=icons'
    """
    words = []
    for stem, same in itertools.groupby(options, key=lambda option: option.rstrip("0123456789")):
        first, *others = list(same)
        words.append(f"{first} to {others[-1].removeprefix(stem)}" if others else first)
    return ", ".join(words)
