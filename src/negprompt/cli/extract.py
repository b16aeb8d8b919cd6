"""`negprompt extract`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from rich import box
from rich.console import Console
from rich.table import Table

from negprompt import ranks
from negprompt.backbones.base import BackboneSettings
from negprompt.cli import launch
from negprompt.cli.build import Paths, Top, settings, target
from negprompt.data.base import IDSets, OODSets, load_split
from negprompt.errors import ConfigError
from negprompt.features.settings import FeatureSettings
from negprompt.features.workbench import Extracted, Workbench
from negprompt.training.trainer import TrainerSettings


class Parts(NamedTuple):
    """Checked settings of one extraction."""

    top: Top
    paths: Paths
    backbone: BackboneSettings
    data: IDSets
    ood: OODSets
    features: FeatureSettings
    trainer: TrainerSettings


def check(config: dict[str, Any]) -> None:
    """Refuse bad settings before anything runs."""
    parts = _parts(config)
    if parts.features.mode == "none":
        msg = "features=none stores nothing: set features=store."
        raise ConfigError(msg)
    for part in parts:
        part.check()


def job(config: dict[str, Any]) -> None:
    """Fill the store and print what was there and what was computed."""
    parts = _parts(config)
    ranks.join(parts.trainer.devices, on_gpu=parts.trainer.on_cuda)
    split = ranks.zero_first(lambda: load_split(parts.data, parts.ood, parts.top.seed))
    root = Path(parts.paths.features_dir)
    bench = Workbench(
        parts.backbone, split, parts.data.augmentation, parts.features, root, parts.trainer, parts.top.seed
    )
    console = Console(quiet=launch.is_silent())
    held_out = parts.data.held_out(parts.top.seed)
    console.print(_table(bench.extract(held_out), f"{split.name}, {parts.backbone.name}, seed {parts.top.seed}"))
    console.print(f"features are in {root / parts.backbone.name}", highlight=False, soft_wrap=True)


def _parts(config: dict[str, Any]) -> Parts:
    return Parts(
        settings(Top, {"resume": "auto", **{key: config[key] for key in ("seed", "text_path", "text_chunk")}}, ""),
        settings(Paths, config["paths"], "paths"),
        target(BackboneSettings, config["backbone"], "backbone"),  # type: ignore[type-abstract]
        target(IDSets, config["data"], "data"),  # type: ignore[type-abstract]
        target(OODSets, config["ood"], "ood"),  # type: ignore[type-abstract]
        settings(FeatureSettings, config["features"], "features"),
        settings(TrainerSettings, config["trainer"], "trainer"),
    )


def _table(rows: list[Extracted], title: str) -> Table:
    table = Table("set", "pictures", "views", "MB", "", "pictures/s", title=title, box=box.SIMPLE)
    for column in (*table.columns[1:4], table.columns[5]):
        column.justify = "right"
    for row in rows:
        state = "found" if row.computed == 0 else "computed"
        if 0 < row.computed < row.views:
            state = f"{row.computed} computed, {row.views - row.computed} found"
        rate = "" if row.rate is None else f"{row.rate:.0f}"
        table.add_row(row.name, f"{row.pictures}", f"{row.views}", f"{row.num_bytes / 1e6:.1f}", state, rate)
    return table
