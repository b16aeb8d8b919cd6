"""`negprompt data verify`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from negprompt.cli.build import Paths, settings
from negprompt.errors import DataError
from negprompt.features.survey import Found, survey


def check(config: dict[str, Any]) -> None:
    """Refuse bad settings before anything runs."""
    _store(config)


def job(config: dict[str, Any]) -> None:
    """Look at every byte of the feature store and print its entries.

    Raises:
        DataError: one of them is damaged.
    """
    root = _store(config)
    found = list(survey(root))
    console = Console()
    if not found:
        console.print(f"no features in {root}: nothing was stored there yet", highlight=False, soft_wrap=True)
        return
    console.print(_table(root, found))
    damaged = [one for one in found if one.state == "damaged"]
    if damaged:
        msg = f"{len(damaged)} of {len(found)} entries are damaged: {' '.join(one.problem for one in damaged)}"
        raise DataError(msg)


def _store(config: dict[str, Any]) -> Path:
    return Path(settings(Paths, config["paths"], "paths").features_dir)


def _table(root: Path, found: list[Found]) -> Table:
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
