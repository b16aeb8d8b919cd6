"""`negprompt export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import torch
from pydantic import Field
from rich.console import Console

from negprompt.backbones.base import BackboneSettings
from negprompt.cli.build import one_score, settings, target
from negprompt.detection.calibration import check_share
from negprompt.detection.export.formats import FormatName, file_format
from negprompt.detection.export.write import Exported, export
from negprompt.detection.loading import GivenScore, load
from negprompt.errors import ConfigError, RunError
from negprompt.runs.finished import find_run
from negprompt.runs.folder import RunFolder
from negprompt.settings import Settings

ALONE = True  # one process is enough


class ExportSettings(Settings):
    """Which run, what kind of file, where to."""

    run: Annotated[str, Field(min_length=1)]
    format: FormatName
    output: Annotated[str, Field(min_length=1)] | None
    ood_alpha: float | None
    device: Literal["cpu", "cuda"]


class Parts(NamedTuple):
    """Checked settings of one call; `backbone` and `score` None for the run's own."""

    top: ExportSettings
    backbone: BackboneSettings | None
    score: GivenScore


def check(config: dict[str, Any]) -> None:
    """Refuse bad settings before anything is loaded."""
    top, backbone, _ = _parts(config)
    if backbone is not None:
        backbone.check()
    if top.device == "cuda" and not torch.cuda.is_available():
        msg = "device=cuda: PyTorch finds no CUDA device here; leave it out, the file is for any device."
        raise ConfigError(msg)
    if top.ood_alpha is not None:
        check_share(top.ood_alpha, "ood_alpha")
    file_format(top.format)
    _refuse_other_things(_output(top))


def job(config: dict[str, Any]) -> None:
    """Write the file and say what is in it."""
    top, backbone, score = _parts(config)
    loaded = load(top.run, backbone, score)
    output = _output(top)
    RunFolder(output.parent).create()
    exported = export(loaded, output, top.format, alpha=top.ood_alpha, device=top.device)
    console = Console(soft_wrap=True, highlight=False, markup=False)
    for line in _summary(exported, loaded.score_name, len(loaded.class_names)):
        console.print(line)


def _parts(config: dict[str, Any]) -> Parts:
    node = config.get("backbone")
    return Parts(
        settings(ExportSettings, {key: config[key] for key in ExportSettings.model_fields}, ""),
        None if node is None else target(BackboneSettings, node, "backbone"),  # type: ignore[type-abstract]
        one_score(config.get("score"), "a file has one score"),
    )


def _output(top: ExportSettings) -> Path:
    """Where the file goes: as told, or beside the prompts; the run must be there either way."""
    run = Path(top.run)
    saved = run.is_file() and run.suffix == ".safetensors"
    folder = run.parent if saved else find_run(run).path
    if top.output is not None:
        return Path(top.output)
    return folder / "export" / f"detector{file_format(top.format).ending}"


def _refuse_other_things(output: Path) -> None:
    """A file is written over by one that has passed its check; what is plainly something else is not."""
    if output.is_dir():
        msg = f"output={output} is a folder: name a file in it, for example output={output / 'detector.onnx'}."
        raise RunError(msg)
    if output.is_file() and output.suffix in (".safetensors", ".json", ".yaml", ".npz", ".ckpt"):
        msg = f"output={output} is there and is no exported detector: name another file."
        raise RunError(msg)


def _summary(exported: Exported, score: str, classes: int) -> list[str]:
    if exported.level is None:
        verdict = "no threshold: the run has no calibration of this score"
    else:
        level = exported.level
        verdict = f"OOD below {level.value:.6g}: {level.calibration.promise(level.alpha)}"
    checked = exported.checked
    return [
        f"{classes} classes, score {score}; {verdict}",
        f"compared with the run on {checked.pictures} pictures: largest difference {checked.difference:.1e}",
        f"written to {exported.path} ({exported.path.stat().st_size / 1e6:.1f} MB)",
    ]
