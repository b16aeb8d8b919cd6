"""The phases of one run, each on its own: fit, prompts as a bundle, test, calibration. `api` says when they happen."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from torch import Tensor

from negprompt import ranks, stopping
from negprompt.detection.calibrating import calibrated_record
from negprompt.detection.record import DetectorRecord
from negprompt.errors import DataError
from negprompt.evaluation.module import PromptEvaluation
from negprompt.evaluation.results import by_side, run_metrics, scores_npz
from negprompt.features.workbench import Workbench
from negprompt.methods.base import PromptLearning
from negprompt.prompts import bundle as bundles
from negprompt.prompts.reader import Reader
from negprompt.reports.figures.histograms import score_histograms
from negprompt.request import SCHEMA, Request
from negprompt.runs.folder import RunFolder
from negprompt.tracking.wandb import Tracker
from negprompt.training.callbacks import Rows, to_csv
from negprompt.training.checkpoint import usable_checkpoint
from negprompt.training.trainer import fit_trainer, interruptible, run_trainer
from negprompt.types import PromptBundle

log = logging.getLogger(__name__)


class Tested(NamedTuple):
    """What a test ends with: the content of metrics.json, and what compared the pictures with the prompts."""

    metrics: dict[str, Any]
    reader: Reader


class Prompts(NamedTuple):
    """What training ends with: context vectors, and what a method learned beside them."""

    bundle: PromptBundle
    adapter: Mapping[str, Tensor]


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


def fit(
    request: Request, module: PromptLearning, bench: Workbench, folder: RunFolder, tracker: Tracker | None, clock: Clock
) -> int:
    """Train, going on from the last checkpoint where there is one; returns the number of steps, 0 for zero-shot."""
    recipe = request.method.optimizer
    if recipe is None:
        return 0
    with clock.phase("image_features"):
        data = bench.train_datamodule(recipe.batch_size)
    steps = -(-len(data.train_dataloader()) // request.trainer.accumulate_grad_batches)  # of the optimiser, in an epoch

    def publish(rows: Rows) -> None:
        folder.write_bytes("metrics.csv", to_csv(rows))
        if tracker is not None:
            tracker.saved(rows)

    identity = {"run": folder.path.name, "method": request.method.name, "schema": SCHEMA}
    checkpoints = folder.path / "checkpoints"
    trainer = fit_trainer(
        request.trainer, checkpoints, identity, recipe.num_epochs(steps), publish, folder.before_write
    )
    looks = folder.writes and request.resume == "auto"
    resume = ranks.of_rank_zero(usable_checkpoint(checkpoints, identity) if looks else None)
    if resume is not None:
        log.info("Going on from %s", resume)
    log.info("training %s ...", request.method.name)
    with clock.phase("training"), stopping.at_boundaries(), interruptible():
        trainer.fit(module, data, ckpt_path=resume, weights_only=True)
    return int(trainer.global_step)


def make_bundle(
    request: Request, bench: Workbench, module: PromptLearning, folder: RunFolder, stage1: str | None, steps: int
) -> PromptBundle:
    """What training leaves: the context vectors of a module, and what they belong to."""
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
        **module.metadata(),
    }
    return PromptBundle(positive, negative, metadata)


def test(request: Request, bench: Workbench, prompts: Prompts, folder: RunFolder) -> Tested:
    """Run the test loop and write scores.npz, metrics.json and the histograms of the first score."""
    split, scores, bundle = bench.split, request.chosen_scores(), prompts.bundle
    bundles.check(bundle, bench.backbone)
    bundles.check_names(bundle, split.class_names)
    needs = frozenset().union(*(score.needs for score in scores.values()))
    module = PromptEvaluation(
        bench.backbone,
        lambda: request.method.reader(bench.backbone, bundle, prompts.adapter, split.class_names),
        scores,
        list(split.test_sets()),
        bench.training_features() if "training_features" in needs else None,
    )
    data = bench.test_datamodule(pixels="pixels" in needs)
    with interruptible():
        run_trainer(request.trainer, gradients="pixels" in needs).test(module, data, verbose=False)
    id_record, ood, shifted = by_side(module.records())
    folder.write_bytes("scores.npz", scores_npz(id_record, ood, list(scores), split, shifted))
    metrics = run_metrics(id_record, ood, list(scores), split, bundle, shifted)
    folder.write_json("metrics.json", metrics)
    tested = Tested(metrics, module.reader)
    if not folder.writes or not ood:
        return tested
    headline = next(iter(scores))
    score_histograms(
        id_record.scores[:, 0].numpy(),
        {name: record.scores[:, 0].numpy() for name, record in ood.items()},
        headline,
        folder.path / "figures" / f"{headline}_histograms.png",
    )
    return tested


def record_for_detectors(request: Request, bench: Workbench, reader: Reader) -> DetectorRecord:
    """What a detector needs beside the prompts; pictures that cannot be read are no reason to lose the run."""
    names, scores = bench.split.class_names, request.chosen_scores()
    try:
        held_out = request.data.held_out(request.seed)
        return calibrated_record(names, scores, reader, held_out, bench.features_of)
    except DataError as error:
        log.warning("No threshold for detectors: %s", error)
        return calibrated_record(names, scores, reader, None, bench.features_of)
