"""`negprompt export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from rich.console import Console

from negprompt.cli.build import settings
from negprompt.detection.calibration import check_share
from negprompt.detection.export.formats import FormatName, file_format
from negprompt.detection.export.graph import check_score
from negprompt.detection.export.write import Exported, export, level_of
from negprompt.detection.loading import load
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
    score: str | None
    ood_alpha: float | None
    device: Literal["cpu", "cuda"]


def check(config: dict[str, Any]) -> None:
    """Refuse bad settings before anything is loaded."""
    chosen = _settings(config)
    if chosen.device == "cuda" and not torch.cuda.is_available():
        msg = "device=cuda: PyTorch finds no CUDA device here; leave it out, the file is for any device."
        raise ConfigError(msg)
    if chosen.ood_alpha is not None:
        check_share(chosen.ood_alpha, "ood_alpha")
    file_format(chosen.format)
    find_run(chosen.run)
    _refuse_other_things(_output(chosen))


def job(config: dict[str, Any]) -> None:
    """Write the file and say what is in it."""
    chosen = _settings(config)
    output = _output(chosen)
    RunFolder(output.parent).create()
    loaded = load(chosen.run, score=chosen.score)
    check_score(loaded.score_name, loaded.score)
    level_of(loaded, chosen.ood_alpha)
    exported = export(loaded, output, chosen.format, alpha=chosen.ood_alpha, device=chosen.device)
    console = Console()
    for line in _summary(exported, loaded.score_name, len(loaded.class_names)):
        console.print(line, highlight=False, soft_wrap=True, markup=False)


def _settings(config: dict[str, Any]) -> ExportSettings:
    return settings(ExportSettings, {key: config[key] for key in ExportSettings.model_fields}, "")


def _output(chosen: ExportSettings) -> Path:
    if chosen.output is not None:
        return Path(chosen.output)
    return find_run(chosen.run).path / "export" / f"detector{file_format(chosen.format).ending}"


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
        verdict = "no threshold: the run has no calibration"
    else:
        level = exported.level
        verdict = f"OOD below {level.value:.6g}: {level.calibration.promise(level.alpha)}"
    checked = exported.checked
    return [
        f"{classes} classes, score {score}; {verdict}",
        f"compared with the run on {checked.pictures} pictures: largest difference {checked.difference:.1e}",
        f"written to {exported.path} ({exported.path.stat().st_size / 1e6:.1f} MB)",
    ]
