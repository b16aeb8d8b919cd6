"""`negprompt predict`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pydantic import Field
from rich.console import Console

from negprompt.backbones.base import BackboneSettings
from negprompt.cli.build import one_score, settings, target
from negprompt.cli.cross_validation import cross_validated_run
from negprompt.data.contents import Files
from negprompt.data.progress import shown
from negprompt.detection import calibration as conformal
from negprompt.detection.answers import AnswerFile, Discoveries, decided, format_of
from negprompt.detection.calibration import Calibration
from negprompt.detection.detector import PromptDetector
from negprompt.detection.loading import GivenScore
from negprompt.detection.sheet import Least, draw_sheet
from negprompt.detection.stream import Answer, find_images, stream
from negprompt.errors import ConfigError, DataError, RunError
from negprompt.settings import Settings
from negprompt.training.trainer import TrainerSettings

ALONE = True  # one process is enough
WHEN_STOPPED = "What was predicted until then is in the output."

CROSS_VALIDATION = "cross_validation"
_LINE = "{:>9} {:>8} {:>10}  {:<20} {:<20} {}"
_SHOWN_FAULTS = 5

log = logging.getLogger(__name__)


class PredictSettings(Settings):
    """Settings of the command itself."""

    run: Annotated[str, Field(min_length=1)]
    input: Annotated[str, Field(min_length=1)]
    output: str | None
    ood_alpha: float | None
    false_discovery_rate: float | None
    calibration: str | None
    folds: Annotated[int, Field(ge=2)]
    sheet: str | None
    sheet_images: Annotated[int, Field(ge=1, le=1000)]
    save: str | None


class Parts(NamedTuple):
    """Checked settings of one call; `backbone` and `score` None for the run's own."""

    top: PredictSettings
    trainer: TrainerSettings
    backbone: BackboneSettings | None
    score: GivenScore


class Counts:
    """How many images were read, called OOD, or could not be read."""

    def __init__(self) -> None:
        self.read = self.ood = self.broken = 0

    def add(self, answers: Sequence[Answer]) -> None:
        """Count one batch; the first faults are said."""
        for answer in answers:
            self.read += answer.error is None
            self.ood += bool(answer.is_ood)
            if answer.error is not None:
                self.broken += 1
                if self.broken <= _SHOWN_FAULTS:
                    log.warning("%s", answer.error)


def check(config: dict[str, Any]) -> None:
    """Refuse bad settings before anything is loaded."""
    top, trainer, backbone, _ = _parts(config)
    for part in (trainer, *([] if backbone is None else [backbone])):
        part.check()
    if top.ood_alpha is not None and top.false_discovery_rate is not None:
        msg = "ood_alpha and false_discovery_rate are two rules: give one of them."
        raise ConfigError(msg)
    for name in ("ood_alpha", "false_discovery_rate"):
        if (share := getattr(top, name)) is not None:
            conformal.check_share(share, name)
    if top.output is not None:
        format_of(Path(top.output))
    for name, ending in (("sheet", ".png"), ("save", ".safetensors")):
        if (path := getattr(top, name)) is not None and Path(path).suffix.lower() != ending:
            msg = f"{name}={path}: the name ends with {ending}."
            raise ConfigError(msg)


def job(config: dict[str, Any]) -> None:
    """Look at the images and write what they are, a batch at a time."""
    top, trainer, backbone, score = parts = _parts(config)
    files = find_images(top.input)
    device = {"auto": "auto", "cpu": "cpu", "gpu": "cuda"}[trainer.accelerator]
    detector = PromptDetector.load(top.run, backbone, device=device, score=score)
    if top.calibration is not None:
        detector.set_calibration(_calibration(parts, detector))
    alpha = _alpha(top, detector)
    if top.save is not None:
        detector.save(top.save)
    console = Console(soft_wrap=True, highlight=False, markup=False)
    counts, discoveries, least = Counts(), Discoveries(), Least(top.sheet_images)
    with ExitStack() as stack:
        takers: list[Callable[[Sequence[Answer]], None]] = [counts.add, discoveries.add, least.add]
        if top.output is None:
            console.print(_LINE.format("", "p", "score", "class", "nearest negative", "image"))
            takers.append(lambda answers: console.print("\n".join(map(_line, answers))))
        else:
            takers.insert(0, stack.enter_context(AnswerFile(Path(top.output))).add)  # before anything can stop it
        for answers in _answers(detector, files, trainer, alpha):
            for take in takers:
                take(answers)
    if not counts.read:
        msg = f"None of the {counts.broken} images of input={top.input} could be read; the first reasons are above."
        raise RunError(msg)
    found = counts.ood
    if top.false_discovery_rate is not None:
        cut = discoveries.cut(top.false_discovery_rate)
        found = discoveries.up_to(cut)
        if top.output is not None:
            decided(Path(top.output), cut)
        else:
            console.print(f"out-of-distribution: images with p up to {cut:.4g}")
    if top.sheet is not None:
        draw_sheet(least.ordered(), Path(top.sheet))
    _sum_up(console, top, detector, counts, found, alpha)


def _parts(config: dict[str, Any]) -> Parts:
    node = config.get("backbone")
    return Parts(
        settings(PredictSettings, {key: config[key] for key in PredictSettings.model_fields}, ""),
        settings(TrainerSettings, config["trainer"], "trainer"),
        None if node is None else target(BackboneSettings, node, "backbone"),  # type: ignore[type-abstract]
        one_score(config.get("score"), "images are judged by one score"),
    )


def _answers(
    detector: PromptDetector, files: Files, trainer: TrainerSettings, alpha: float | None
) -> Iterator[list[Answer]]:
    """Batches of answers, with a progress bar."""
    size = trainer.eval_batch_size
    batches = stream(detector, files, batch_size=size, num_workers=trainer.num_workers, alpha=alpha)
    least = 2 if trainer.progress_bar else len(files) + 1
    yield from shown(batches, "looking at images", -(-len(files) // size), least)


def _alpha(top: PredictSettings, detector: PromptDetector) -> float | None:
    """The share of ID images that may be rejected, None where there is no calibration, or another rule."""
    asked = top.ood_alpha is not None or top.false_discovery_rate is not None
    if detector.calibration is None:
        how = "calibration=<folder of held-out in-distribution images>, or calibration=cross_validation"
        if asked:
            msg = (
                f"run={top.run} has no calibration of score={detector.score_name}, so no share can be promised: {how}."
            )
            raise ConfigError(msg)
        log.warning("No threshold: this run has no calibration of score=%s (%s).", detector.score_name, how)
        return None
    if top.false_discovery_rate is not None:
        return None
    if top.ood_alpha is None:
        return detector.alpha
    conformal.check_alpha(top.ood_alpha, detector.calibration)
    return top.ood_alpha


def _calibration(parts: Parts, detector: PromptDetector) -> Calibration:
    """Scores of the images that `calibration` names, or of the few-shot images by folds."""
    top, trainer = parts.top, parts.trainer
    if top.calibration == CROSS_VALIDATION:
        return cross_validated_run(Path(top.run), detector, top.folds, trainer)
    files = find_images(str(top.calibration))
    counts, scores = Counts(), []
    for answers in _answers(detector, files, trainer, None):
        counts.add(answers)
        scores += [answer.score for answer in answers if answer.score is not None]
    if not scores:
        msg = f"None of the {counts.broken} images of calibration={top.calibration} could be read."
        raise DataError(msg)
    return Calibration.of(scores, str(top.calibration))


def _line(answer: Answer) -> str:
    if answer.error is not None:
        return _LINE.format("unread", "", "", "", "", f"{answer.path}  ({answer.error})")
    verdict = "" if answer.is_ood is None else "OOD" if answer.is_ood else "ID"
    p_value = "" if answer.p_value is None else f"{answer.p_value:.4f}"
    nearest = answer.nearest_negative or ""
    return _LINE.format(verdict, p_value, f"{answer.score:.6g}", str(answer.class_name), nearest, answer.path)


def _sum_up(
    console: Console, top: PredictSettings, detector: PromptDetector, counts: Counts, found: int, alpha: float | None
) -> None:
    broken = f", {counts.broken} could not be read" if counts.broken else ""
    console.print(f"{counts.read} images{broken}")
    calibration = detector.calibration
    if calibration is not None:
        rule = "" if alpha is None else f"; {calibration.promise(alpha)}"
        if top.false_discovery_rate is not None:
            rule = f"; of these calls at most {top.false_discovery_rate:g} are expected to be wrong"
        console.print(f"{found} out-of-distribution{rule}")
    for path in (top.output, top.sheet, top.save):
        if path is not None:
            console.print(f"written to {path}")
