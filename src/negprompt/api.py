"""What the command line and Python users call: a checked request in, a finished run folder out. No Hydra here."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import lightning
import yaml
from torch import Tensor

from negprompt import ranks, stopping
from negprompt.data.base import load_split
from negprompt.detection.calibrating import calibrated_record
from negprompt.detection.record import FILE_NAME as RECORD_FILE
from negprompt.detection.record import DetectorRecord
from negprompt.errors import DataError, NegPromptError
from negprompt.evaluation.module import PromptEvaluation
from negprompt.evaluation.results import by_side, run_metrics, scores_npz
from negprompt.features.workbench import Workbench
from negprompt.methods.base import PromptLearning, Surroundings
from negprompt.prompts import bundle as bundles
from negprompt.prompts.reader import Reader
from negprompt.reports.figures import score_histograms
from negprompt.request import SCHEMA, Finder, Request
from negprompt.runs.finished import Expected, begin_anew, reusable, was_begun_anew
from negprompt.runs.folder import RunFolder
from negprompt.runs.logfile import log_to
from negprompt.runs.provenance import provenance
from negprompt.tracking.wandb import Tracker, is_complete, tracked
from negprompt.training.callbacks import Rows, from_csv, to_csv
from negprompt.training.checkpoint import usable_checkpoint
from negprompt.training.held import held
from negprompt.training.trainer import fit_trainer, interruptible, run_trainer
from negprompt.types import PromptBundle

log = logging.getLogger(__name__)


class Finished(NamedTuple):
    """A finished run: its folder and the content of its metrics.json; `reused` where nothing had to be done."""

    folder: Path
    metrics: dict[str, Any]
    reused: bool


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


def train(request: Request, *, as_stage: bool = False) -> Finished:
    """Fit every stage of the method, evaluate it, and leave a finished run folder; a finished one is reused.

    Args:
        request: checked settings; its hash names the folder.
        as_stage: whether the run is made for another one, which shares it: one that somebody else makes right now is
            waited for.

    Returns:
        The folder and its metrics.

    Raises:
        RunBusyError: another process makes the same run right now. Nothing was written.
        NegPromptError: with a message that names the fix. The folder then holds FAILED.json, and whatever was
            computed before stays for the next attempt.
    """
    request.check()
    ranks.join(request.trainer.devices, on_gpu=request.trainer.on_cuda)
    bench = _workbench(request)
    given = _given_prompts(request, bench)
    folder = RunFolder(request.runs_dir / request.run_name(bench, given), writes=ranks.rank() == 0)
    if request.resume == "never" and ranks.of_rank_zero(was_begun_anew(folder.path)):
        request = replace(request, resume="auto")

    def before() -> Finished | None:
        return _finished_before(request, bench, folder, as_stage=as_stage)

    if (finished := before()) is not None:
        return finished
    with held(folder, waits=as_stage) as folder:
        if (finished := before()) is not None:  # by whoever held the folder until now
            return finished
        if folder.writes and request.resume == "never":
            begin_anew(folder, request.runs_dir)
        folder.create()
        folder.remove_unfinished_files()
        folder.write_bytes("config.yaml", yaml.safe_dump(dict(request.config), sort_keys=False).encode())
        with log_to(folder.path / "log.txt") if folder.writes else nullcontext():
            finished = _run(request, bench, given, folder)
        ranks.barrier()  # nobody reads the folder before it is whole
    return finished


def _finished_before(request: Request, bench: Workbench, folder: RunFolder, *, as_stage: bool) -> Finished | None:
    """The finished run that stands for a request, if there is one."""
    if request.resume == "never" or not ranks.of_rank_zero(folder.is_done):
        return None
    fix = f"move {folder.path} away" if as_stage else "resume=never makes it anew and keeps the old one"
    metrics = reusable(folder.path, Expected(bench.weights_sha256, bench.split.sha256), fix)
    log.info("Finished before: %s", folder.path)
    if folder.writes:
        _track_finished(request, folder, metrics)
    return Finished(folder.path, metrics, reused=True)


def _run(request: Request, bench: Workbench, given: PromptBundle | None, folder: RunFolder) -> Finished:
    """All phases of one run; an error that ends it early is kept in FAILED.json."""
    clock = Clock()
    try:
        stage1, positive, source = _positive_prompts(request, given, bench)
        outside = request.method.outside_adapter(_surroundings(request, bench))
        lightning.seed_everything(request.seed, verbose=False)
        module = request.method.module(bench.backbone, bench.train_class_names, request.seed, positive)
        tracking = tracked(request.logger, folder.path, request.config) if folder.writes else nullcontext()
        with tracking as tracker:
            if tracker is not None and source is not None:
                tracker.uses(source)
            steps = _fit(request, module, bench, folder, tracker, clock)
            bundle = _bundle(request, bench, module, folder, stage1, steps)
            if adapter := {**outside.tensors, **module.adapter()}:
                belongs = {key: bundle.metadata[key] for key in ("backbone", "weights_sha256", "method")}
                folder.write_bytes(bundles.ADAPTER_FILE, bundles.adapter_bytes(adapter, outside.metadata | belongs))
            folder.write_bytes(bundles.FILE_NAME, bundles.to_bytes(bundle))
            with clock.phase("evaluation"):
                metrics, reader = _evaluate(request, bench, Prompts(bundle, adapter), folder)
            with clock.phase("calibration"):
                folder.write_json(RECORD_FILE, _record(request, bench, reader).to_json())
            if tracker is not None:
                tracker.finished(metrics)
        folder.write_json("provenance.json", provenance(clock.seconds, request.command, str(module.device)))
        folder.mark_done()
    except Exception as error:  # who stops a run by a signal leaves one that is unfinished, not one that failed
        with suppress(NegPromptError):  # a full disk must not hide what went wrong first
            folder.mark_failed(request.method.name, error, request.command)
        raise
    return Finished(folder.path, metrics, reused=False)


def _track_finished(request: Request, folder: RunFolder, metrics: dict[str, Any]) -> None:
    """Send what W&B lacks of a finished run: it was down then, or was not asked for."""
    if is_complete(request.logger, folder.path):
        return
    curve = folder.path / "metrics.csv"
    with tracked(request.logger, folder.path, request.config) as tracker:
        if tracker is not None:
            tracker.saved(from_csv(curve.read_text()) if curve.is_file() else [])
            tracker.finished(metrics)


def find(request: Request) -> RunFolder:
    """The folder that `train` gives this request, whether there is a run in it or not.

    Raises:
        NegPromptError: weights, pictures or named prompts are not at hand, or do not fit.
    """
    return Finder().find(request)


def evaluate(request: Request, run: Path, output: Path) -> dict[str, Any]:
    """Score the benchmark with finished prompts, without training.

    Args:
        request: backbone, data, OOD sets and scores; the method only says what its prompts provide.
        run: run folder or prompts.safetensors.
        output: folder for metrics.json, scores.npz and figures.
    """
    ranks.join(request.trainer.devices, on_gpu=request.trainer.on_cuda)
    prompts = Prompts(bundles.load(run), bundles.load_adapter(run))
    bench = _workbench(request)
    folder = RunFolder(output, writes=ranks.rank() == 0)
    folder.create()
    return _evaluate(request, bench, prompts, folder).metrics


def _workbench(request: Request) -> Workbench:
    split = ranks.zero_first(lambda: load_split(request.data, request.ood, request.seed))
    local = request.features.local or "local" in request.method.looks_at
    return Workbench(
        request.backbone,
        split,
        request.data.augmentation,
        request.features.model_copy(update={"local": local}),
        request.features_dir or request.runs_dir / "_features",
        request.trainer,
        request.seed,
        local_tests="local" in request.looks_at,
    )


def _surroundings(request: Request, bench: Workbench) -> Surroundings:
    return Surroundings(
        bench.backbone, bench.weights_sha256, request.trainer, request.runs_dir, request.seed, request.command
    )


def _given_prompts(request: Request, bench: Workbench) -> PromptBundle | None:
    bundle = request.given_prompts()
    if bundle is not None:
        bundles.check(bundle, bench.backbone)
    return bundle


def _positive_prompts(
    request: Request, given: PromptBundle | None, bench: Workbench
) -> tuple[str | None, PromptBundle | None, Path | None]:
    """Run id, prompts and place of stage 1: those given, or those of the run that the same settings make or find."""
    if given is not None:
        return given.metadata["run"], given, request.method.positive_prompts  # type: ignore[attr-defined]
    stage = request.first_stage()
    if stage is None:
        return None, None, None
    finished = train(replace(stage, resume="auto"), as_stage=True)  # shared with others: made anew only by itself
    bundle = bundles.load(finished.folder)
    bundles.check(bundle, bench.backbone)
    return bundle.metadata["run"], bundle, finished.folder


def _fit(
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
        **module.metadata(),
    }
    return PromptBundle(positive, negative, metadata)


def _evaluate(request: Request, bench: Workbench, prompts: Prompts, folder: RunFolder) -> Tested:
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


def _record(request: Request, bench: Workbench, reader: Reader) -> DetectorRecord:
    """What a detector needs beside the prompts; pictures that cannot be read are no reason to lose the run."""
    names, scores = bench.split.class_names, request.chosen_scores()
    try:
        held_out = request.data.held_out(request.seed)
        return calibrated_record(names, scores, reader, held_out, bench.features_of)
    except DataError as error:
        log.warning("No threshold for detectors: %s", error)
        return calibrated_record(names, scores, reader, None, bench.features_of)
