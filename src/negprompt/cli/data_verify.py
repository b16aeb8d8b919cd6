"""`negprompt data verify`: a data set, or without a name the feature store."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from negprompt.cli.build import Paths, both_sides, settings
from negprompt.cli.verify_report import printable, show, verdict
from negprompt.data.verification.verify import Wanted, verify
from negprompt.errors import ConfigError, DataError
from negprompt.features.survey import Found, survey
from negprompt.settings import Settings

_EXAMPLE = "negprompt data verify imagenet_1k"


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
        both_sides(config, _EXAMPLE)
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


# --- a data set ----------------------------------------------------------------------------------------------------


def _verify_data(config: dict[str, Any]) -> None:
    id_sets, ood_sets = both_sides(config, _EXAMPLE)
    options, paths = _options(config), settings(Paths, config["paths"], "paths")
    kept = {"paths.cache_dir": paths.cache_dir, "paths.manifests_dir": paths.manifests_dir}
    with _quiet_cache():
        report = verify(
            id_sets,
            ood_sets,
            Wanted(options.pictures, options.counts, options.seed),
            folders={setting: Path(folder) for setting, folder in kept.items() if folder is not None},
            progress=_with_bar,
        )
    console = Console()
    title = id_sets.name if id_sets.name == ood_sets.name else f"{id_sets.name} against {ood_sets.name}"
    show(console, printable(title, console.encoding), report)
    if report.severe:
        msg = f"{title}: {verdict(report)}; each is listed above with what to do."
        raise DataError(msg)
    console.print(verdict(report), highlight=False, soft_wrap=True)


@contextmanager
def _quiet_cache() -> Iterator[None]:
    """A cache that cannot be written is in the report; said again at each listing it would bury it."""
    log = logging.getLogger("negprompt.data.cache")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(before)


def _with_bar(items: Iterable[Any], text: str, total: int) -> Iterator[Any]:
    """The items, with a bar on a terminal; on standard error, so that a report in a file is a report only."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(None), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, expand=True, disable=not console.is_terminal) as bar:
        yield from bar.track(items, total=total, description=text)


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
