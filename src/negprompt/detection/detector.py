"""A trained run as an object that answers: which class is it, and does it belong at all?"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from negprompt.backbones.base import FrozenBackbone
from negprompt.detection import calibration as conformal
from negprompt.detection.calibration import Calibration
from negprompt.detection.loading import GivenBackbone, GivenScore, Loaded, checked_names, load
from negprompt.detection.pixels import Pictures, one_by_one, pixels_of
from negprompt.detection.readers import reader_of
from negprompt.detection.record import DetectorRecord, with_record
from negprompt.errors import ConfigError, RunError
from negprompt.prompts import bundle as bundles
from negprompt.prompts.looking import score_inputs
from negprompt.prompts.reader import Reader
from negprompt.runs.folder import atomic_write

log = logging.getLogger(__name__)

_ELSEWHERE = "a path in a folder that you may write to"


class Detections(NamedTuple):
    """Answers for B images, in their order.

    `label` (B,) int64, place of the nearest positive prompt in `detector.classes`; `class_name`: its name; `score` (B,)
    float64, higher = more in-distribution; `p_value` (B,) float64 and `is_ood` (B,) bool, None without a calibration;
    `nearest_negative`: class of the nearest negative prompt, None without negatives.
    """

    label: npt.NDArray[np.int64]
    class_name: list[str]
    score: npt.NDArray[np.float64]
    is_ood: npt.NDArray[np.bool_] | None
    p_value: npt.NDArray[np.float64] | None
    nearest_negative: list[str] | None


class Scored(NamedTuple):
    """What prompts say of B images: `label` (B,), `score` (B,) float64, `negative` (B,) class or None; on the CPU."""

    label: Tensor
    score: Tensor
    negative: Tensor | None


class PromptDetector:
    """Scores images with a finished run and, once calibrated, tells those that do not belong.

    Args:
        loaded: from `loading.load`.
        device: "auto" for a GPU where there is one, or any device of torch.
    """

    def __init__(self, loaded: Loaded, device: str | torch.device = "auto") -> None:
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        try:
            self._device = torch.device(device)
            self._backbone = loaded.backbone.to(self._device)
        except (RuntimeError, AssertionError) as error:
            msg = f"device={device!r} cannot be used ({str(error).splitlines()[0]}): give 'auto', 'cpu' or 'cuda'."
            raise ConfigError(msg) from error
        self._loaded = loaded
        self._classes = loaded.class_names
        self._calibration = loaded.calibration
        self._alpha: float | None = None
        self._reader = self._read()

    @classmethod
    def load(
        cls,
        run: str | Path,
        backbone: GivenBackbone = None,
        *,
        device: str | torch.device = "auto",
        score: GivenScore = None,
        class_names: Sequence[str] | None = None,
    ) -> Self:
        """Read a finished run, its `prompts.safetensors`, or a file that `save` wrote.

        Args:
            run: folder or file.
            backbone: an object, its settings or its name ("tiny_rn", "ViT-B-16/laion2b_s34b_b88k"); None for the one
                that the prompts were learned on.
            device: "auto" for a GPU where there is one, or any device of torch.
            score: name of a score, or its node; None for the calibrated one, or else the one the method is known for.
            class_names: None for those of the run.

        Raises:
            NegPromptError: there is no such run, or it does not fit the backbone, the names or the score.
        """
        return cls(load(run, backbone, score, class_names), device)

    @property
    def backbone(self) -> FrozenBackbone:
        """The frozen CLIP, on the detector's device."""
        return self._backbone

    @property
    def score_name(self) -> str:
        """Name of the score."""
        return self._loaded.score_name

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in label order.

        Assigning others encodes the prompts anew and drops the calibration, which is one of the names before.
        """
        return self._classes

    @classes.setter
    def classes(self, names: Sequence[str]) -> None:
        checked = checked_names(names)
        if checked == self._classes:
            return
        bundles.check_names(self._loaded.learned.bundle, checked)
        self._classes = checked
        self._reader = self._read()
        if self._calibration is not None:
            log.warning("The calibration was made for other class names and is dropped: calibrate again.")
            self._calibration = None

    @property
    def calibration(self) -> Calibration | None:
        """Scores that thresholds rest on, None where nothing was calibrated."""
        return self._calibration

    @property
    def alpha(self) -> float:
        """Share of ID images that may be rejected: 0.05, or the smallest that the calibration can promise.

        Raises:
            ConfigError: there is no calibration; or, on assignment, the share cannot be promised.
        """
        return conformal.default_alpha(self._calibrated()) if self._alpha is None else self._alpha

    @alpha.setter
    def alpha(self, value: float) -> None:
        conformal.check_alpha(value, self._calibrated(), "alpha")
        self._alpha = value

    @property
    def threshold(self) -> float:
        """Score below which an image is called out-of-distribution, at `alpha`.

        Raises:
            ConfigError: there is no calibration.
        """
        return conformal.threshold(self._calibrated(), self.alpha)

    def __call__(
        self,
        images: Pictures,
        *,
        alpha: float | None = None,
        false_discovery_rate: float | None = None,
        batch_size: int = 64,
    ) -> Detections:
        """Look at images.

        Args:
            images: one, or any number: paths, PIL images, arrays (H, W, 3) or tensors (3, H, W) of uint8 values or of
                floats in [0, 1], or a batch (B, H, W, 3) or (B, 3, H, W) of the last two.
            alpha: share of ID images that may be rejected; None for `self.alpha`.
            false_discovery_rate: call images OOD by Benjamini-Hochberg over all of `images`, in place of alpha.
            batch_size: images at a time.

        Raises:
            DataError: an image cannot be read; names it.
            ConfigError: a share that cannot be promised, or no calibration to promise it.
        """
        if alpha is not None and false_discovery_rate is not None:
            msg = "alpha and false_discovery_rate are two rules: give one of them."
            raise ConfigError(msg)
        if alpha is not None:
            conformal.check_alpha(alpha, self._calibrated(), "alpha")
        if false_discovery_rate is not None:
            conformal.check_share(false_discovery_rate, "false_discovery_rate")
            self._calibrated()
        label, score, negative = self._looked_at(images, batch_size)
        scores = score.numpy()
        p_value = is_ood = None
        if self._calibration is not None:
            p_value = conformal.p_values(scores, self._calibration)
            if false_discovery_rate is not None:
                is_ood = conformal.benjamini_hochberg(p_value, false_discovery_rate)
            else:
                is_ood = p_value <= (self.alpha if alpha is None else alpha)
        nearest = None if negative is None else self.names_of(negative)
        return Detections(label.numpy(), self.names_of(label), scores, is_ood, p_value, nearest)

    def calibrate(
        self, images: Pictures, *, source: str = "images given to calibrate()", batch_size: int = 64
    ) -> Calibration:
        """Take the scores of held-out ID images as the measure of what belongs; returns them.

        Args:
            images: of the classes, as new ones will be, that no prompt was trained on and no setting chosen by.
            source: where they come from, in words; kept with the scores.
            batch_size: images at a time.

        Raises:
            DataError: an image cannot be read.
            ConfigError: there is none.
        """
        scores = self._looked_at(images, batch_size).score
        self.set_calibration(Calibration.of(scores.numpy(), source))
        return self._calibrated()

    def set_calibration(self, calibration: Calibration | None) -> None:
        """Use scores that were computed elsewhere, by the same score for the same classes; None for none."""
        self._calibration = calibration
        if calibration is not None and self._alpha is not None:
            conformal.check_alpha(self._alpha, calibration, "alpha")

    def save(self, path: str | Path) -> Path:
        """Write prompts, class names, score and calibration into one small file that `load` reads.

        A file that is there is replaced, whole or not at all. Weights of the backbone are not in it.

        Raises:
            ConfigError: the method has more than prompts (CLIPN, ZOC), or the name does not end with .safetensors.
            RunError: it cannot be written.
        """
        target = Path(path)
        if target.suffix != ".safetensors":
            msg = f"save({str(path)!r}): the file's name ends with .safetensors, for example detector.safetensors."
            raise ConfigError(msg)
        if self._loaded.learned.adapter:
            msg = (
                f"method={self._loaded.learned.bundle.metadata['method']} has more than prompts (adapter.safetensors): "
                "keep its run folder, which Detector.load reads."
            )
            raise ConfigError(msg)
        content = bundles.to_bytes(with_record(self._loaded.learned.bundle, self.record()))
        if target.is_dir():
            msg = f"{target} is a folder: give a file's name in it."
            raise RunError(msg)
        atomic_write(target, content, _ELSEWHERE)
        return target

    def record(self) -> DetectorRecord:
        """Class names, score and calibration as they are now."""
        return DetectorRecord(self._classes, self.score_name, self._loaded.score.node, self._calibration)

    @torch.no_grad()
    def score_batch(self, pixels: Tensor) -> Scored:
        """Labels and scores of normalised pixels (B, 3, size, size)."""
        score = self._loaded.score
        inputs = score_inputs(self._reader, self._backbone, {"image": pixels.to(self._device)}, score.needs)
        scores, negative = score.function(inputs).double(), inputs.similarity.negative
        nearest = None if negative is None else negative.amax(dim=2).argmax(dim=1).cpu()
        return Scored(inputs.similarity.positive.argmax(dim=1).cpu(), scores.cpu(), nearest)

    def names_of(self, labels: Tensor) -> list[str]:
        """Class names of labels (B,)."""
        return [self._classes[label] for label in labels.tolist()]

    def _looked_at(self, images: Pictures, batch_size: int) -> Scored:
        if batch_size < 1:
            msg = f"batch_size={batch_size} is not allowed: it is a whole number of at least 1."
            raise ConfigError(msg)
        spec = self._backbone.image_spec
        pixels = (pixels_of(image, spec, place) for place, image in enumerate(one_by_one(images)))
        parts = []
        while batch := list(itertools.islice(pixels, batch_size)):
            parts.append(self.score_batch(torch.stack(batch)))
        if not parts:
            parts = [self.score_batch(torch.zeros(0, 3, spec.size, spec.size))]
        negatives = [part.negative for part in parts if part.negative is not None]
        return Scored(
            torch.cat([part.label for part in parts]),
            torch.cat([part.score for part in parts]),
            torch.cat(negatives) if negatives else None,
        )

    def _read(self) -> Reader:
        return reader_of(self._loaded.learned, self._backbone, self._classes)

    def _calibrated(self) -> Calibration:
        if self._calibration is None:
            msg = (
                f"This detector has no calibration of score={self.score_name} for these classes, so no threshold: "
                "give held-out ID images to calibrate(), or train the run again with a version that does."
            )
            raise ConfigError(msg)
        return self._calibration
