"""`negprompt data prepare`: a data set as webdataset shards."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field
from rich import box
from rich.console import Console
from rich.table import Table

from negprompt.cli.build import Paths, both_sides, settings
from negprompt.data.parts import parts_of
from negprompt.data.shards.prepare import Summary, prepare
from negprompt.settings import Settings

_MB = 1_000_000

_EXAMPLE = "negprompt data prepare imagenet_1k output=..."


class Options(Settings):
    """What is written, where, and by how many processes."""

    output: str
    train: Literal["all", "draw"]
    seed: Annotated[int, Field(ge=0, lt=2**32)]
    shard_mb: Annotated[int, Field(ge=1)]
    workers: Annotated[int, Field(ge=1)]


def check(config: dict[str, Any]) -> None:
    """Refuse bad settings before anything runs."""
    _options(config)
    settings(Paths, config["paths"], "paths")
    for part in both_sides(config, _EXAMPLE):
        part.check()


def job(config: dict[str, Any]) -> None:
    """Write the shards; what an interrupted call has finished is kept."""
    options = _options(config)
    id_sets, ood_sets = both_sides(config, _EXAMPLE)
    parts = parts_of(id_sets, ood_sets, train=options.train, seed=options.seed)
    draw = {"seed": options.seed, "num_shots": id_sets.num_shots} if options.train == "draw" else None
    summary = prepare(
        parts.sets,
        parts.classes,
        Path(options.output),
        name=id_sets.name,
        max_bytes=options.shard_mb * _MB,
        workers=options.workers,
        corrupt=getattr(id_sets, "corrupt", "stop"),
        draw=draw,
    )
    console = Console()
    console.print(_table(summary))
    state = f"{summary.written} of {summary.shards} shards written now" if summary.written else "all was there"
    console.print(f"{state}; use them with data.shards={summary.folder}", highlight=False, soft_wrap=True)


def _options(config: dict[str, Any]) -> Options:
    return settings(Options, {key: config[key] for key in Options.model_fields}, "")


def _table(summary: Summary) -> Table:
    table = Table("set", "pictures", "left out", box=box.SIMPLE)
    for column in table.columns[1:]:
        column.justify = "right"
    for name, count in summary.pictures.items():
        table.add_row(name, f"{count:,}", f"{summary.dropped[name] or ''}")
    table.add_section()
    table.add_row("bytes", f"{summary.bytes_:,}", "")
    return table
