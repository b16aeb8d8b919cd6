"""`from negprompt import Detector`: load a run, or fit one on a few images, and ask it about others."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

from negprompt.detection.detector import PromptDetector
from negprompt.detection.loading import checked_names
from negprompt.detection.pixels import Picture, one_by_one
from negprompt.errors import ConfigError

Calibrate = Literal["held_out", "cross_validation", "none"]


class Detector(PromptDetector):
    """A finished run that labels images and tells those that belong to no class."""

    @classmethod
    def fit(
        cls,
        images: Iterable[Picture],
        labels: Sequence[int],
        class_names: Sequence[str],
        *,
        backbone: str = "tiny_rn",
        method: str = "negprompt",
        calibrate: Calibrate = "held_out",
        held_out: float = 0.2,
        folds: int = 5,
        seed: int = 1,
        overrides: Sequence[str] = (),
        device: str = "auto",
    ) -> Detector:
        """Train every stage of a method on a few images, as `negprompt train data=folder` does, without a file.

        Args:
            images: few of each class, any of `Picture`.
            labels: (N,) whole numbers, places in `class_names`.
            class_names: K names in label order.
            backbone: as on the command line.
            method: as on the command line.
            calibrate: "held_out" keeps a share of the images out of training and calibrates on them, an exact promise;
                "cross_validation" trains on all, and `folds` times more without a part of them, no exact promise;
                "none" calibrates nothing.
            held_out: share of each class that is kept out, rounded, never its last image.
            folds: of the cross-validation.
            seed: of the training and of what is kept out.
            overrides: further settings as on the command line, ["method.num_negatives=3"].
            device: of the detector, "auto" for a GPU where there is one.

        Raises:
            NegPromptError: images, labels, names or settings do not fit.
        """
        names = checked_names(class_names)
        if calibrate not in ("held_out", "cross_validation", "none"):
            msg = f"calibrate={calibrate!r} is not allowed; allowed: held_out, cross_validation, none."
            raise ConfigError(msg)
        if not 0 < held_out < 1:
            msg = f"held_out={held_out} is not allowed: it is a share between 0 and 1, for example 0.2."
            raise ConfigError(msg)
        # Here, since loading a detector must cost neither Lightning nor Hydra.
        from negprompt.cli.composed_request import composed_request
        from negprompt.cli.cross_validation import cross_validated, trained
        from negprompt.detection.given import GivenID, image_set, kept_aside, take

        every = image_set(one_by_one(images), [*labels], len(names))
        request = composed_request(
            [f"backbone={backbone}", f"method={method}", f"seed={seed}", "trainer.progress_bar=false", *overrides]
        )
        aside = kept_aside(every.labels, held_out, seed) if calibrate == "held_out" else []
        held = take(every, aside, "images kept out of training") if aside else None
        left = take(every, [row for row in range(len(every.keys)) if row not in set(aside)])
        data = GivenID.of(names, left, held, request.data.augmentation)

        def read(run: Path) -> Detector:
            return cls.load(run, device=device)

        detector = trained(request, data, read)
        if calibrate == "cross_validation":
            detector.set_calibration(cross_validated(request, every, names, detector, folds))
        return detector
