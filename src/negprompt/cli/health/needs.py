"""What a run with these settings needs: exact where it follows from the settings, and called an estimate where not."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch

from negprompt.backbones.chunks import MEMORY_BUDGET, activation_bytes
from negprompt.backbones.weights import Shape
from negprompt.cli.health.finding import Finding
from negprompt.cli.health.machine import available_memory, existing, gib
from negprompt.data.base import num_train_classes
from negprompt.errors import NegPromptError
from negprompt.methods.base import MethodSettings
from negprompt.request import Request
from negprompt.training.sampler import EpochBatchSampler

_NAME_TOKENS = 6
"""A class name and the start and end of its prompt, on average: ImageNet's names have 3.3 tokens."""
_OVERHEAD_S = 0.01
"""A step of the smallest model on a CPU: Python, the optimiser, the loss."""
_EFFICIENCY = 0.4
"""Share of a large matrix product's speed that a text tower reaches."""
_BACKWARD = 3
"""Work of forward and backward pass in forward passes."""


class Counts(NamedTuple):
    """Pictures and classes of a benchmark."""

    classes: int
    train_classes: int
    train: int
    test: int


class Stage(NamedTuple):
    """Training of one stage: contexts that are shared by the classes, prompts and steps."""

    method: MethodSettings
    contexts: int
    prompts: int
    steps: int


def settings_work(request: Request) -> Iterator[Finding]:
    """Whether each part of the settings works on this machine: data at hand, devices there."""
    parts = {"trainer": request.trainer, "backbone": request.backbone, "data": request.data, "ood": request.ood}
    for name, part in {**parts, "method": request.method}.items():
        try:
            part.check()
        except NegPromptError as error:
            yield Finding(name, "missing", str(error))
        else:
            yield Finding(name, "ok", str(getattr(part, "name", getattr(part, "accelerator", ""))))


def needs(request: Request) -> Iterator[Finding]:
    """Pictures, steps, memory, disk and time."""
    try:
        counted = counts(request)
    except NegPromptError:
        yield Finding("pictures", "note", "unknown until the data set is here")
        return
    shape = request.backbone.shape()
    stages = list(_stages(request, counted))
    yield Finding(
        "pictures",
        "note",
        f"{counted.train:,} to train on ({counted.train_classes:,} classes), {counted.test:,} to test",
    )
    for stage in stages:
        yield Finding(f"steps of {stage.method.name}", "note", f"{stage.steps:,}, {stage.prompts:,} prompts each")
    if shape is None:
        yield Finding("memory", "note", f"unknown: backbone={request.backbone.name} does not tell its sizes")
        return
    if request.features.mode == "store":
        yield _store(request, counted, shape)
    yield _memory(request, stages, shape)
    if stages:
        yield _time(request, stages, shape)


def counts(request: Request) -> Counts:
    """Pictures and classes, from what a benchmark's protocol says, or by listing a set that has none.

    Raises:
        NegPromptError: a set that must be listed is not there.
    """
    sides = [*request.data.sources(), *request.ood.sources()]
    train = next(one for one in sides if one.side == "train")
    classes = len(train.classes if train.classes is not None else train.read().classes)
    trained = num_train_classes(classes, request.data.class_fraction)
    tests = [one for one in sides if one.side != "train"]
    test = sum(len(one.read().keys) if one.expected.total is None else one.expected.total for one in tests)
    return Counts(classes, trained, trained * request.data.num_shots, test)


def _stages(request: Request, counted: Counts) -> Iterator[Stage]:
    """Stage 1, where it is not given, then the method's own."""
    for method in (request.method.positive_stage(), request.method):
        if method is not None and method.optimizer is not None:
            batches = len(EpochBatchSampler(counted.train, method.optimizer.batch_size, request.seed, lambda: 0))
            contexts = max(1, getattr(method, "num_negatives", 1))
            in_epoch = -(-batches // request.trainer.accumulate_grad_batches)
            steps = method.optimizer.num_epochs(in_epoch) * in_epoch
            yield Stage(method, contexts, contexts * counted.train_classes, steps)


def _store(request: Request, counted: Counts, shape: Shape) -> Finding:
    """Disk of the feature store: exact without local features, whose number depends on the tower."""
    views = request.features.views if request.method.optimizer is not None else 0
    wanted = (counted.train * views + counted.test) * shape.feature_width * 4
    folder = request.features_dir or request.runs_dir / "_features"
    free = shutil.disk_usage(existing(Path(folder))).free
    text = f"{gib(wanted)} for {views} views and the test sets, less what is there already"
    if request.features.local or "local" in request.looks_at:
        text += "; local features are some hundred times that"
    if wanted > free:
        fix = "set paths.features_dir=<a larger disk>, fewer features.views, or features=none"
        return Finding("disk", "missing", f"{text}; {gib(free)} are free", fix)
    return Finding("disk", "ok", text)


def _memory(request: Request, stages: list[Stage], shape: Shape) -> Finding:
    """Weights, and what the largest text step keeps for its backward pass."""
    step = max((activation_bytes(_tokens(stage), shape.text_depth, shape.text_width) for stage in stages), default=0)
    if request.backbone.text_chunk == "auto":
        step = min(step, MEMORY_BUDGET)
    wanted = 4 * shape.parameters + step
    on_gpu = request.trainer.on_cuda
    have = torch.cuda.mem_get_info()[0] if on_gpu else available_memory()
    text = (
        f"about {gib(wanted)}: weights {gib(4 * shape.parameters)}, a text step at most {gib(step)} (estimate); before "
        f"that a batch of {request.trainer.eval_batch_size} pictures, while features are computed"
    )
    if have is not None and wanted > have:
        fix = "set text_chunk=<fewer classes>, or take a larger device"
        return Finding(
            "memory", "warning", f"{text}; {gib(have)} are free on {'the GPU' if on_gpu else 'this machine'}", fix
        )
    return Finding("memory", "ok", text)


def _time(request: Request, stages: list[Stage], shape: Shape) -> Finding:
    """Time of the text steps, from the speed of a matrix product measured now: the order of magnitude."""
    rate = _EFFICIENCY * _flops("cuda" if request.trainer.on_cuda else "cpu")
    layer = 12 * shape.text_width**2 * shape.text_depth
    shared = request.backbone.text_path in ("auto", "shared")
    seconds = 0.0
    for stage in stages:
        tokens = _shared_tokens(stage) if shared and not stage.method.class_specific else _tokens(stage)
        seconds += stage.steps * (_OVERHEAD_S + _BACKWARD * 2 * layer * tokens / rate)
    text = f"about {_duration(seconds)} for the training steps, as busy as this machine is now (order of magnitude)"
    return Finding("time", "note", text)


def _tokens(stage: Stage) -> int:
    """Tokens of one step, each prompt for itself."""
    return stage.prompts * (stage.method.num_context_tokens + _NAME_TOKENS)


def _shared_tokens(stage: Stage) -> int:
    """Tokens of one step where the context is encoded once for all classes."""
    return stage.contexts * stage.method.num_context_tokens + stage.prompts * _NAME_TOKENS


def _flops(device: str) -> float:
    """Operations a second of a matrix product, the best of ten: other programs may run."""
    size = 4096 if device == "cuda" else 1024
    matrix = torch.ones(size, size, device=device)
    best = float("inf")
    for _ in range(10):
        start = time.perf_counter()
        (matrix @ matrix).sum().item()  # waits for the device
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
