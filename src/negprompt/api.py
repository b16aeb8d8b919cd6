"""What the command line and Python users call: a checked request in, a finished run folder out. No Hydra here."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import lightning
import torch
import yaml

from negprompt import phases, ranks
from negprompt.data.base import load_split
from negprompt.detection.record import FILE_NAME as RECORD_FILE
from negprompt.errors import NegPromptError
from negprompt.evaluation.opened import OpenRun
from negprompt.features.workbench import Workbench
from negprompt.methods.base import Surroundings
from negprompt.prompts import bundle as bundles
from negprompt.request import Finder, Request
from negprompt.runs.finished import Expected, begin_anew, reusable, was_begun_anew
from negprompt.runs.folder import RunFolder
from negprompt.runs.logfile import log_to
from negprompt.runs.provenance import provenance
from negprompt.tracking.wandb import is_complete, tracked
from negprompt.training.callbacks import from_csv
from negprompt.training.held import held
from negprompt.types import NearestPrompts, PromptBundle

log = logging.getLogger(__name__)


class Finished(NamedTuple):
    """A finished run: its folder and the content of its metrics.json; `reused` where nothing had to be done."""

    folder: Path
    metrics: dict[str, Any]
    reused: bool


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
    clock = phases.Clock()
    try:
        stage1, positive, source = _positive_prompts(request, given, bench)
        outside = request.method.outside_adapter(_surroundings(request, bench))
        lightning.seed_everything(request.seed, verbose=False)
        module = request.method.module(bench.backbone, bench.train_class_names, request.seed, positive)
        tracking = tracked(request.logger, folder.path, request.config) if folder.writes else nullcontext()
        with tracking as tracker:
            if tracker is not None and source is not None:
                tracker.uses(source)
            steps = phases.fit(request, module, bench, folder, tracker, clock)
            bundle = phases.make_bundle(request, bench, module, folder, stage1, steps)
            if adapter := {**outside.tensors, **module.adapter()}:
                belongs = {key: bundle.metadata[key] for key in ("backbone", "weights_sha256", "method")}
                folder.write_bytes(bundles.ADAPTER_FILE, bundles.adapter_bytes(adapter, outside.metadata | belongs))
            folder.write_bytes(bundles.FILE_NAME, bundles.to_bytes(bundle))
            with clock.phase("evaluation"):
                metrics, reader = phases.test(request, bench, phases.Prompts(bundle, adapter), folder)
            with clock.phase("calibration"):
                folder.write_json(RECORD_FILE, phases.record_for_detectors(request, bench, reader).to_json())
            if tracker is not None:
                tracker.finished(metrics)
        on_gpu = torch.cuda.max_memory_allocated() if module.device.type == "cuda" else None
        folder.write_json("provenance.json", provenance(clock.seconds, request.command, str(module.device), on_gpu))
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
    prompts = phases.Prompts(bundles.load(run), bundles.load_adapter(run))
    bench = _workbench(request)
    folder = RunFolder(output, writes=ranks.rank() == 0)
    folder.create()
    return phases.test(request, bench, prompts, folder).metrics


def open_run(request: Request, run: Path) -> OpenRun:
    """A finished run with its backbone and pictures, to be looked into; nothing is trained or scored.

    Args:
        request: the run's own settings.
        run: run folder or prompts.safetensors.

    Raises:
        NegPromptError: weights or pictures are not at hand, or the prompts do not fit them.
    """
    bundle, bench = bundles.load(run), _workbench(request)
    bundles.check(bundle, bench.backbone)
    return OpenRun(bench, request.method, request.seed, bundle, bundles.load_adapter(run))


def nearest_prompts(request: Request, run: Path) -> Mapping[str, NearestPrompts]:
    """Nearest prompts of every test picture, by test set (`Split.test_sets`), from stored features where there are.

    Args:
        request: the run's own settings.
        run: run folder or prompts.safetensors.
    """
    return open_run(request, run).nearest


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
