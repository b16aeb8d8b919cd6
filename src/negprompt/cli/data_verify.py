"""`negprompt data verify`: a data set, or without a name the feature store."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field
from rich import box
from rich.console import Console
from rich.progress import track
from rich.table import Table

from negprompt.cli.build import Paths, settings, target
from negprompt.data.base import IDSets, OODSets, Problem
from negprompt.data.verify import Overlap, Report, SetReport, verify
from negprompt.errors import ConfigError, DataError
from negprompt.features.survey import Found, survey
from negprompt.settings import Settings


class Options(Settings):
    """What is read, and what numbers of pictures are compared with."""

    pictures: Literal["all", "draw", "none"]
    counts: Literal["protocol", "any"]
    seed: Annotated[int, Field(ge=0, lt=2**32)]


def check(config: dict[str, Any]) -> None:
    """Refuse bad settings before anything runs."""
    paths = settings(Paths, config["paths"], "paths")
    if _has_data(config):
        _options(config)
        _sets(config)
    elif not paths.features_dir:
        msg = "paths.features_dir is empty: name the folder of the feature store."
        raise ConfigError(msg)


def job(config: dict[str, Any]) -> None:
    """Check the data set, or the feature store.

    Raises:
        DataError: something is wrong with it.
    """
    if _has_data(config):
        _verify_data(config)
    else:
        _verify_store(Path(settings(Paths, config["paths"], "paths").features_dir))


def _has_data(config: dict[str, Any]) -> bool:
    return config.get("data") is not None or config.get("ood") is not None


def _options(config: dict[str, Any]) -> Options:
    return settings(Options, {key: config[key] for key in Options.model_fields}, "")


def _sets(config: dict[str, Any]) -> tuple[IDSets, OODSets]:
    for group in ("data", "ood"):
        if config.get(group) is None:
            msg = f"{group} is missing: name a data set (negprompt data verify imagenet_1k), or set {group}=..."
            raise ConfigError(msg)
    return (
        target(IDSets, config["data"], "data"),  # type: ignore[type-abstract]
        target(OODSets, config["ood"], "ood"),  # type: ignore[type-abstract]
    )


# --- a data set ----------------------------------------------------------------------------------------------------


def _verify_data(config: dict[str, Any]) -> None:
    id_sets, ood_sets = _sets(config)
    options, paths = _options(config), settings(Paths, config["paths"], "paths")
    folders = [Path(folder) for folder in (paths.cache_dir, paths.manifests_dir) if folder is not None]
    console = Console()
    progress = functools.partial(track, console=console, transient=True, disable=not console.is_terminal)
    report = verify(
        id_sets,
        ood_sets,
        pictures=options.pictures,
        counts=options.counts,
        seed=options.seed,
        folders=folders,
        progress=lambda items, text, total: progress(items, text, total=total),
    )
    _print(console, f"{id_sets.name} against {ood_sets.name}", report)
    if report.severe:
        msg = f"{len(report.severe)} problems with {id_sets.name}; they are listed above, each with what to do."
        raise DataError(msg)
    console.print("nothing wrong", highlight=False)


def _print(console: Console, title: str, report: Report) -> None:
    console.print(title, style="italic", highlight=False)
    if report.sets:
        console.print(_set_table(report.sets))
    if report.overlaps:
        console.print(_overlap_table(report.overlaps))
    for problem in report.problems:
        console.print(_line(problem), highlight=False, soft_wrap=True)


def _line(problem: Problem) -> str:
    mark = "[red]problem[/]" if problem.severe else "[yellow]warning[/]"
    text = f"{problem.set_name}: {problem.what}. {problem.fix}".replace("[", "\\[").rstrip()
    return f"{mark} {text}"


def _set_table(sets: Iterable[SetReport]) -> Table:
    table = Table("set", "side", "pictures", "classes", "read", "unreadable", "not RGB", box=box.SIMPLE)
    for column in table.columns[2:6]:
        column.justify = "right"
    for one in sets:
        modes = ", ".join(f"{count} {mode}" for mode, count in sorted(one.modes.items()))
        row = [
            one.name,
            one.side,
            f"{one.pictures:,}",
            f"{one.classes or ''}",
            f"{one.read:,}",
            f"{one.unreadable or ''}",
        ]
        table.add_row(*row, modes)
    return table


def _overlap_table(overlaps: Iterable[Overlap]) -> Table:
    table = Table("sets", "same file", "looks the same", title="pictures in two sets", box=box.SIMPLE)
    for one in overlaps:
        near = "not compared" if one.near is None else f"{one.near}"
        table.add_row(f"{one.left}, {one.right}", f"{one.exact}", near)
    return table


# --- the feature store ---------------------------------------------------------------------------------------------


def _verify_store(root: Path) -> None:
    found = list(survey(root))
    console = Console()
    if not found:
        console.print(f"no features in {root}: nothing was stored there yet", highlight=False, soft_wrap=True)
        return
    console.print(_store_table(root, found))
    damaged = [one for one in found if one.state == "damaged"]
    if damaged:
        msg = f"{len(damaged)} of {len(found)} entries are damaged: {' '.join(one.problem for one in damaged)}"
        raise DataError(msg)


def _store_table(root: Path, found: list[Found]) -> Table:
    table = Table("entry", "state", "pictures", "transform", "local", "MB", title=str(root), box=box.SIMPLE)
    for column in table.columns[2::3]:
        column.justify = "right"
    table.columns[0].overflow = "fold"  # a name that is cut cannot be copied
    for one in found:
        pictures = "?" if one.pictures is None else f"{one.pictures}"
        rows = pictures if one.done is None else f"{one.done} of {pictures}"
        local = "yes" if one.local else "no" if one.state == "whole" else ""
        table.add_row(one.name, one.state, rows, one.transform, local, f"{one.num_bytes / 1e6:.1f}")
    return table
