"""What the command line and Python users call: a checked request in, a finished run folder out. No Hydra here."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import lightning
import yaml

from negprompt.backbones.base import BackboneSettings
from negprompt.data.base import IDSets, OODSets, load_split
from negprompt.errors import ConfigError, NegPromptError
from negprompt.evaluation.module import PromptEvaluation
from negprompt.evaluation.results import id_accuracy, score_metrics, scores_npz
from negprompt.features.settings import FeatureSettings
from negprompt.features.workbench import Workbench
from negprompt.methods.base import MethodSettings, PromptLearning
from negprompt.prompts import bundle as bundles
from negprompt.reports.figures import score_histograms
from negprompt.runs.folder import RunFolder, request_hash, run_name
from negprompt.runs.logfile import log_to
from negprompt.runs.provenance import provenance
from negprompt.scores.choice import ScoreChoice
from negprompt.settings import settings_target
from negprompt.training.trainer import CHECKPOINT, TrainerSettings, fit_trainer, interruptible, run_trainer
from negprompt.types import PromptBundle

log = logging.getLogger(__name__)

SCHEMA = 1
"""Number of the result format; part of every request hash, raised when equal requests would give other results."""


@dataclass(frozen=True)
class Request:
    """Everything a run is: two equal requests are the same run and share a folder.

    `scores` may be cut to what the method provides where `cut_scores` is set; `stage_scores` evaluate stage 1.
    `config` is the configuration the request was made from, kept in the folder's config.yaml.
    """

    seed: int
    backbone: BackboneSettings
    data: IDSets
    ood: OODSets
    method: MethodSettings
    scores: Mapping[str, ScoreChoice]
    stage_scores: Mapping[str, ScoreChoice]
    features: FeatureSettings
    trainer: TrainerSettings
    runs_dir: Path
    cut_scores: bool = False
    resume: Literal["auto", "never"] = "auto"
    command: str = ""
    config: Mapping[str, Any] = field(default_factory=dict)

    def check(self) -> None:
        """Refuse what cannot work together before anything is loaded.

        Raises:
            ConfigError: a score needs what the method does not provide, or class-specific contexts meet new names.
        """
        self.chosen_scores()
        if self.method.class_specific and self.data.class_fraction < 1:
            msg = (
                f"data.class_fraction={self.data.class_fraction} tests names that were never trained on, which "
                "class-specific contexts do not have: set method.class_specific=false or data.class_fraction=1.0."
            )
            raise ConfigError(msg)

    def chosen_scores(self) -> dict[str, ScoreChoice]:
        """Scores of this run.

        Raises:
            ConfigError: a score needs what the method does not provide.
        """
        fitting = {name: score for name, score in self.scores.items() if score.needs <= self.method.provides}
        for name, score in self.scores.items():
            if name not in fitting and not self.cut_scores:
                msg = (
                    f"score={name} needs {', '.join(sorted(score.needs))} prompts and method={self.method.name} has "
                    f"none: choose a method that learns them (method=negprompt) or another score."
                )
                raise ConfigError(msg)
        return fitting


class Finished(NamedTuple):
    """A finished run: its folder and the content of its metrics.json; `reused` where nothing had to be done."""

    folder: Path
    metrics: dict[str, Any]
    reused: bool


@dataclass
class Clock:
    """Seconds spent in each phase of a run, for provenance.json."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Time the body."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = round(time.perf_counter() - start, 3)


def train(request: Request) -> Finished:
    """Fit every stage of the method, evaluate it, and leave a finished run folder; a finished one is reused.

    Args:
        request: checked settings; its hash names the folder.

    Returns:
        The folder and its metrics.

    Raises:
        NegPromptError: with a message that names the fix. The folder then holds FAILED.json, and whatever was
            computed before stays for the next attempt.
    """
    request.check()
    scores = request.chosen_scores()
    bench = _workbench(request)
    given = _given_prompts(request, bench)
    folder = _folder(request, scores, bench, given)
    if folder.is_done and request.resume == "auto":
        log.info("Finished before: %s", folder.path)
        return Finished(folder.path, json.loads((folder.path / "metrics.json").read_text()), reused=True)
    folder.create()
    folder.mark_started()
    folder.write_bytes("config.yaml", yaml.safe_dump(dict(request.config), sort_keys=False).encode())
    with log_to(folder.path / "log.txt"):
        return _run(request, scores, bench, given, folder)


def _run(
    request: Request,
    scores: Mapping[str, ScoreChoice],
    bench: Workbench,
    given: PromptBundle | None,
    folder: RunFolder,
) -> Finished:
    """All phases of one run; whatever ends it early is kept in FAILED.json."""
    clock = Clock()
    try:
        stage1, positive = _positive_prompts(request, given, bench)
        lightning.seed_everything(request.seed, verbose=False)
        module = request.method.module(bench.backbone, bench.train_class_names, request.seed, positive)
        if request.method.optimizer is not None:
            with clock.phase("image_features"):
                datamodule = bench.train_datamodule(request.method.optimizer.batch_size)
            log.info("training %s ...", request.method.name)
            with clock.phase("training"):
                steps = _fit(request, module, datamodule, folder)
        else:
            steps = 0
        bundle = _bundle(request, bench, module, folder, stage1, steps)
        folder.write_bytes(bundles.FILE_NAME, bundles.to_bytes(bundle))
        with clock.phase("evaluation"):
            metrics = _evaluate(request, scores, bench, bundle, folder)
    except (KeyboardInterrupt, Exception) as error:
        with suppress(NegPromptError):  # a full disk must not hide what went wrong first
            folder.mark_failed(request.method.name, error)
        raise
    folder.write_json("provenance.json", provenance(clock.seconds, request.command, str(module.device)))
    folder.mark_done()
    return Finished(folder.path, metrics, reused=False)


def evaluate(request: Request, run: Path, output: Path) -> dict[str, Any]:
    """Score the benchmark with finished prompts, without training.

    Args:
        request: backbone, data, OOD sets and scores; the method only says what its prompts provide.
        run: run folder or prompts.safetensors.
        output: folder for metrics.json, scores.npz and figures.
    """
    bundle = bundles.load(run)
    scores = request.chosen_scores()
    bench = _workbench(request)
    folder = RunFolder(output)
    folder.create()
    return _evaluate(request, scores, bench, bundle, folder)


def _workbench(request: Request) -> Workbench:
    split = load_split(request.data, request.ood, request.seed)
    return Workbench(
        request.backbone, split, request.data.augmentation, request.features, request.trainer, request.seed
    )


def _given_prompts(request: Request, bench: Workbench) -> PromptBundle | None:
    path = getattr(request.method, "positive_prompts", None)
    if path is None:
        return None
    bundle = bundles.load(path)
    bundles.check(bundle, bench.backbone)
    return bundle


def _folder(
    request: Request, scores: Mapping[str, ScoreChoice], bench: Workbench, given: PromptBundle | None
) -> RunFolder:
    """The folder of a request: its hash covers what can change a result, and nothing else."""
    payload = {
        "schema": SCHEMA,
        "seed": request.seed,
        "backbone": {"name": request.backbone.name, "weights_sha256": bench.weights_sha256},
        "data": request.data.hash_payload(),
        "split_sha256": bench.split.sha256,
        "method": request.method.hash_payload(),
        "positive_prompts": None if given is None else hashlib.sha256(bundles.to_bytes(given)).hexdigest(),
        "scores": {name: dict(score.node) for name, score in scores.items()},
        "features": request.features.hash_payload(),
        "trainer": request.trainer.hash_payload(),
    }
    name = run_name(request.data.name, request.method.name, request.backbone.name, request.seed, request_hash(payload))
    return RunFolder(request.runs_dir / name)


def _positive_prompts(
    request: Request, given: PromptBundle | None, bench: Workbench
) -> tuple[str | None, PromptBundle | None]:
    """Run id and prompts of stage 1: those given, or those of the run that the same settings make or find."""
    if given is not None:
        return given.metadata["run"], given
    stage = request.method.positive_stage()
    if stage is None:
        return None, None
    config = {**request.config, "method": settings_target(stage)}
    finished = train(replace(request, method=stage, scores=request.stage_scores, cut_scores=True, config=config))
    bundle = bundles.load(finished.folder)
    bundles.check(bundle, bench.backbone)
    return bundle.metadata["run"], bundle


def _fit(request: Request, module: PromptLearning, data: lightning.LightningDataModule, folder: RunFolder) -> int:
    """Train, going on from the last checkpoint where there is one; returns the number of steps."""
    recipe = request.method.optimizer
    if recipe is None:
        msg = f"method={request.method.name} has no optimizer."
        raise ConfigError(msg)
    epochs = recipe.num_epochs(len(data.train_dataloader()))
    trainer = fit_trainer(request.trainer, folder.path, epochs, lambda rows: folder.write_bytes("metrics.csv", rows))
    checkpoint = folder.path / "checkpoints" / f"{CHECKPOINT}.ckpt"
    resume = checkpoint.is_file() and request.resume == "auto"
    if resume:
        log.info("Going on from %s", checkpoint)
    with interruptible():
        trainer.fit(module, data, ckpt_path=str(checkpoint) if resume else None, weights_only=True)
    return int(trainer.global_step)


def _bundle(
    request: Request, bench: Workbench, module: PromptLearning, folder: RunFolder, stage1: str | None, steps: int
) -> PromptBundle:
    positive, negative = module.contexts()
    metadata = {
        "schema": SCHEMA,
        "run": folder.path.name,
        "method": request.method.name,
        "backbone": request.backbone.name,
        "backbone_tag": bench.backbone.tag,
        "weights_sha256": bench.weights_sha256,
        "class_token_position": request.method.class_token_position,
        "full_stop": request.method.full_stop,
        "class_names_sha256": bundles.class_names_sha256(bench.split.class_names),
        "train_class_names": list(bench.train_class_names),
        "split_sha256": bench.split.sha256,
        "seed": request.seed,
        "num_shots": request.data.num_shots,
        "class_fraction": request.data.class_fraction,
        "positive_prompts": stage1,
        "steps": steps,
    }
    return PromptBundle(positive, negative, metadata)


def _evaluate(
    request: Request, scores: Mapping[str, ScoreChoice], bench: Workbench, bundle: PromptBundle, folder: RunFolder
) -> dict[str, Any]:
    """Run the test loop and write scores.npz, metrics.json and the histograms of the first score."""
    split = bench.split
    functions = {name: score.function for name, score in scores.items()}
    module = PromptEvaluation(bench.backbone, bundle, split.class_names, functions, ["id", *split.ood])
    data = bench.test_datamodule()
    with interruptible():
        run_trainer(request.trainer).test(module, data, verbose=False)
    records = module.records()
    id_record = records.pop("id")
    folder.write_bytes("scores.npz", scores_npz(id_record, records, list(scores), split))
    metrics = {
        "schema": SCHEMA,
        "benchmark": request.data.name,
        "method": bundle.metadata["method"],
        "backbone": request.backbone.name,
        "seed": bundle.metadata["seed"],
        "num_shots": bundle.metadata["num_shots"],
        "class_fraction": bundle.metadata["class_fraction"],
        "num_classes": len(split.class_names),
        "num_negatives": 0 if bundle.negative is None else bundle.negative.shape[-3],
        "positive_prompts": bundle.metadata["positive_prompts"],
        "split_sha256": split.sha256,
        "class_names_sha256": bundles.class_names_sha256(split.class_names),
        "weights_sha256": bench.weights_sha256,
        "steps": bundle.metadata["steps"],
        "id_accuracy": id_accuracy(id_record),
        "dropped_samples": 0,
        "scores": score_metrics(id_record, records, list(scores)),
    }
    folder.write_json("metrics.json", metrics)
    headline = next(iter(scores))
    score_histograms(
        id_record.scores[:, 0].numpy(),
        {name: record.scores[:, 0].numpy() for name, record in records.items()},
        headline,
        folder.path / "figures" / f"{headline}_histograms.png",
    )
    return metrics
