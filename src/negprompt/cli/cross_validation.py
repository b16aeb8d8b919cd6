"""A calibration where no image was held out: each few-shot image scored by prompts that were trained without it."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import yaml

from negprompt import api
from negprompt.backbones.base import FrozenBackbone
from negprompt.cli.build import build_request
from negprompt.data.base import IDSets
from negprompt.detection.calibration import Calibration
from negprompt.detection.detector import PromptDetector
from negprompt.detection.given import GivenID, NoOOD, folds_of, pixels_in, take
from negprompt.errors import ConfigError, RunError
from negprompt.request import Request
from negprompt.runs.finished import find_run
from negprompt.tracking.settings import LoggerSettings
from negprompt.training.trainer import TrainerSettings
from negprompt.types import ImageSet

log = logging.getLogger(__name__)

Kind = TypeVar("Kind", bound=PromptDetector)


def trained(request: Request, data: IDSets, use: Callable[[Path], Kind]) -> Kind:
    """Train on images at hand in a folder that is gone afterwards, and read what comes out.

    Args:
        request: everything but the pictures.
        data: in their place.
        use: reads the run's folder.
    """
    with tempfile.TemporaryDirectory(prefix="negprompt-") as folder:
        runs = Path(folder)
        logger = LoggerSettings(name="none")
        here = replace(request, data=data, ood=NoOOD(), runs_dir=runs, features_dir=None, logger=logger, resume="auto")
        return use(api.train(here).folder)


def cross_validated(
    request: Request, images: ImageSet, class_names: Sequence[str], detector: PromptDetector, folds: int
) -> Calibration:
    """Scores of all images, each by prompts that were trained on the other folds.

    Prompts of folds have seen fewer images than the final ones, so that the scores are near those of new images and no
    promise is exact.

    Args:
        request: everything but the pictures.
        images: the few-shot images.
        class_names: K names in label order.
        detector: of the final prompts; its backbone and its score are used.
        folds: number of trainings, at least 2.

    Raises:
        ConfigError: more folds than images.
    """
    if not 2 <= folds <= len(images.keys):
        msg = f"folds={folds} is not allowed with {len(images.keys)} images: give a number from 2 to that."
        raise ConfigError(msg)
    fold_of = folds_of(images.labels, folds, request.seed)
    scores = np.zeros(len(fold_of))
    backbone: FrozenBackbone = detector.backbone
    for fold in range(folds):
        log.info("cross-validation: fold %d of %d", fold + 1, folds)
        rest = [row for row, one in enumerate(fold_of) if one != fold]
        left_out = [row for row, one in enumerate(fold_of) if one == fold]
        data = GivenID.of(class_names, take(images, rest), None, request.data.augmentation)
        device = next(backbone.parameters()).device

        def read(run: Path) -> PromptDetector:
            return PromptDetector.load(run, backbone, device=device, score=detector.score_name)  # noqa: B023 -- used now

        scores[left_out] = trained(request, data, read)(pixels_in(take(images, left_out))).score
    return Calibration.of(scores, f"{folds} folds of {images.name}", "cross_validation")


def cross_validated_run(run: Path, detector: PromptDetector, folds: int, trainer: TrainerSettings) -> Calibration:
    """`cross_validated` of a run's own few-shot images, with its own settings.

    Raises:
        RunError: the run's settings or pictures are not at hand.
        ConfigError: a run of the open vocabulary: its few-shot images show some of the classes only.
    """
    folder = find_run(run).path
    try:
        config: dict[str, Any] = dict(yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8")))
    except (OSError, yaml.YAMLError, TypeError, ValueError) as error:
        msg = (
            f"calibration=cross_validation needs {folder / 'config.yaml'}: load the run folder, not its prompts alone."
        )
        raise RunError(msg) from error
    request = replace(build_request(config), trainer=trainer.model_copy(update={"progress_bar": False}))
    pictures = request.data.load(request.seed)
    if pictures.num_train_classes < len(pictures.class_names) or pictures.class_names != detector.classes:
        msg = (
            f"This run was trained on {pictures.num_train_classes} of {len(detector.classes)} classes, and thresholds "
            "need images of all: give calibration=<folder of held-out images>."
        )
        raise ConfigError(msg)
    return cross_validated(request, pictures.train, pictures.class_names, detector, folds)
