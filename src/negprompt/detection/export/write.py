"""A loaded detector -> one file that was compared with it before it was put in its place."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch

from negprompt.detection.calibration import check_alpha, default_alpha
from negprompt.detection.export.check import BATCHES, Checked, check
from negprompt.detection.export.description import describe
from negprompt.detection.export.formats import FormatName, file_format
from negprompt.detection.export.graph import DetectorGraph, Threshold
from negprompt.detection.export.pictures import embedded_pictures
from negprompt.detection.loading import Loaded
from negprompt.errors import ConfigError, ExportError
from negprompt.runs.folder import atomic_write


class Exported(NamedTuple):
    """A file that was written: its place, the threshold in it, and what it was compared on."""

    path: Path
    level: Threshold | None
    checked: Checked


def export(
    loaded: Loaded, path: Path, kind: FormatName = "onnx", *, alpha: float | None = None, device: str = "cpu"
) -> Exported:
    """Write a detector as one file; what was at `path` stays unless the new file passes its check.

    Args:
        loaded: backbone, prompts, class names, score and calibration; the backbone is moved to the device.
        path: of the file.
        kind: of the file.
        alpha: share of ID images that may be rejected; None for 0.05, or the smallest that can be promised.
        device: where the detector and the file are compared (`cpu` or `cuda`); the file itself is for any.

    Raises:
        ConfigError: a score that no file can hold, an alpha that cannot be promised, or a package is missing.
        ExportError: PyTorch cannot write it, or the file answers something else.
        RunError: the file cannot be written.
    """
    form = file_format(kind)
    level = level_of(loaded, alpha)
    loaded.backbone.to(device)
    graph = DetectorGraph(loaded, level)
    try:
        content = form.content(graph, describe(graph, loaded, level))
    except (RuntimeError, NotImplementedError, ValueError) as error:  # an operation that the format does not have
        reason = str(error).strip().partition("\n")[0]
        msg = (
            f"{loaded.backbone.name} with score={loaded.score_name} cannot be written as {kind} by this version of "
            f"PyTorch ({reason}): try another format=."
        )
        raise ExportError(msg) from error
    answer = form.opened(content, torch.device(device))
    checked = check(graph, answer, embedded_pictures(loaded.backbone.image_spec, max(BATCHES)))
    atomic_write(path, content, "output=<file>")
    return Exported(path, level, checked)


def level_of(loaded: Loaded, alpha: float | None) -> Threshold | None:
    """The threshold of a detector, None without a calibration.

    Raises:
        ConfigError: an alpha that cannot be promised, or is given where there is no calibration.
    """
    calibration = loaded.calibration
    if calibration is None:
        if alpha is None:
            return None
        msg = (
            f"ood_alpha={alpha} needs a calibration, and this run has none for score={loaded.score_name}: leave "
            "ood_alpha out (the file then has scores and no verdict), or calibrate the run."
        )
        raise ConfigError(msg)
    alpha = default_alpha(calibration) if alpha is None else alpha
    check_alpha(alpha, calibration)
    return Threshold(calibration, alpha)
