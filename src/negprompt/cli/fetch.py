"""`negprompt fetch`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console

from negprompt.backbones.base import BackboneSettings
from negprompt.cli.build import Paths, settings, target
from negprompt.errors import ConfigError


def check(config: dict[str, Any]) -> None:
    """Refuse unknown backbones before anything is fetched."""
    _backbone(config).check()


def job(config: dict[str, Any]) -> None:
    """Bring the weights of a backbone to this machine and say what other machines need to be told."""
    backbone, folder = _backbone(config), _folder(config)
    console = Console()

    def say(line: str) -> None:
        console.print(line, highlight=False, soft_wrap=True, markup=False)

    known = backbone.weights()
    if known is None:
        say(f"{backbone.name} comes with the package: nothing to fetch.")
        return
    was_there = known.path is not None and known.path.parent == folder
    if not was_there:
        say(f"fetching {backbone.name} from {known.page} ...")
    file = backbone.fetch(folder)
    if file is None:
        say(f"{backbone.name} has nothing to fetch.")
        return
    size = f"{file.stat().st_size / 1e6:,.1f} MB, loads"
    say(f"{'already there' if was_there else 'written to'} {file} ({size})")
    say(f"Machines without a network find it with: export NEGPROMPT_WEIGHTS={file.parent.resolve()}")


def _backbone(config: dict[str, Any]) -> BackboneSettings:
    if config.get("backbone") is None:
        msg = "backbone is missing: name one, for example negprompt fetch backbone=vit_b16_laion2b."
        raise ConfigError(msg)
    return target(BackboneSettings, config["backbone"], "backbone")  # type: ignore[type-abstract]


def _folder(config: dict[str, Any]) -> Path:
    paths = settings(Paths, config["paths"], "paths")
    if paths.weights_dir is None:
        msg = "paths.weights_dir=null: name a folder that the other machines see."
        raise ConfigError(msg)
    return Path(paths.weights_dir)
