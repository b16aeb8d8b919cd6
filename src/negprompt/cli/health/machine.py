"""Versions, devices, memory, folders, weights and logins of this machine."""

from __future__ import annotations

import netrc
import os
import platform
import shutil
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from urllib.parse import urlsplit

import torch

from negprompt.backbones.base import BackboneSettings
from negprompt.backbones.weights import reached
from negprompt.cli.build import Paths
from negprompt.cli.health.finding import Finding
from negprompt.runs.provenance import PACKAGES
from negprompt.tracking.settings import LoggerSettings

_MORE_PACKAGES = ("wandb", "submitit", "hydra-submitit-launcher", "hydra-joblib-launcher")
_WANDB = "https://api.wandb.ai"
_HUB = "https://huggingface.co"
_LITTLE_DISK = 1e9


def versions() -> Iterator[Finding]:
    """Of what a result depends on, and of what is optional."""
    yield Finding("python", "note", f"{platform.python_version()}, {platform.platform(terse=True)}")
    yield Finding("packages", "note", ", ".join(f"{name} {_version(name)}" for name in (*PACKAGES, *_MORE_PACKAGES)))


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def devices() -> Iterator[Finding]:
    """GPUs, cores and memory."""
    for number in range(torch.cuda.device_count()):
        gpu = torch.cuda.get_device_properties(number)
        free, total = torch.cuda.mem_get_info(number)
        bf16 = "bf16" if gpu.major >= 8 else "no bf16: trainer=gpu_fp16"
        yield Finding(f"GPU {number}", "ok", f"{gpu.name}, {gib(free)} of {gib(total)} free, {bf16}")
    if not torch.cuda.device_count():
        yield Finding("GPU", "note", "none that PyTorch can use: runs take the CPU")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    yield Finding("CPU", "ok", f"{cores} cores for this process, {torch.get_num_threads()} threads")
    memory = available_memory()
    yield Finding("memory", "note" if memory is None else "ok", "unknown" if memory is None else f"{gib(memory)} free")


def available_memory() -> int | None:
    """Bytes that programs can still take, None where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration, ValueError):
        return None


def folders(paths: Paths) -> Iterator[Finding]:
    """Room in the folders of the settings, and whether they can be written."""
    for name, needs_writing in (("runs_dir", True), ("features_dir", True), ("data_root", False)):
        yield _folder(f"paths.{name}", Path(getattr(paths, name)), needs_writing=needs_writing)
    if paths.weights_dir is not None:
        yield _folder("paths.weights_dir", Path(paths.weights_dir), needs_writing=False)


def _folder(name: str, folder: Path, *, needs_writing: bool) -> Finding:
    there = existing(folder)
    where = str(folder) if there == folder else f"{folder} (not there yet)"
    free = shutil.disk_usage(there).free
    text = f"{where}: {gib(free)} free"
    if not os.access(there, os.X_OK | (os.W_OK if needs_writing else os.R_OK)):
        fix = f"set {name}=<a folder that you may {'write' if needs_writing else 'read'}>"
        return Finding(name, "missing" if needs_writing else "warning", f"{text}, but no permission for {there}", fix)
    if needs_writing and free < _LITTLE_DISK:
        return Finding(name, "warning", text, f"make room, or set {name}=<another folder>")
    return Finding(name, "ok" if there == folder or needs_writing else "note", text)


def existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    absolute = folder.expanduser().absolute()
    return folder if folder.is_dir() else next(one for one in absolute.parents if one.is_dir())


def weights(backbones: Mapping[str, BackboneSettings], wanted: str) -> Iterator[Finding]:
    """Which backbones' weights are at hand; those of the settings are needed."""
    paths = {
        name: known.path if (known := one.weights()) else "comes with the package" for name, one in backbones.items()
    }
    here = [name for name, path in paths.items() if path is not None and name != wanted]
    gone = [name for name, path in paths.items() if path is None and name != wanted]
    fetch = "where there is a network: negprompt fetch backbone="
    if paths[wanted] is None:
        yield Finding(wanted, "missing", "not on this machine", f"{fetch}{wanted}")
    else:
        yield Finding(wanted, "ok", str(paths[wanted]))
    if here:
        yield Finding("others here", "note", ", ".join(here))
    if gone:
        yield Finding("not here", "note", ", ".join(gone), f"{fetch}NAME")


def login(logger: LoggerSettings) -> Finding:
    """Whether W&B has a key, without asking it."""
    wanted = logger.name == "wandb" and getattr(logger, "mode", "") == "online"
    mode = os.environ.get("WANDB_MODE", "")
    if mode in ("offline", "disabled", "dryrun"):
        return Finding("W&B", "ok", f"WANDB_MODE={mode}: nothing is sent")
    if os.environ.get("WANDB_API_KEY"):
        return Finding("W&B", "ok", "a key in WANDB_API_KEY")
    host = urlsplit(os.environ.get("WANDB_BASE_URL", _WANDB)).hostname or ""
    if _has_key(host):
        return Finding("W&B", "ok", f"logged in at {host}")
    fix = "wandb login, or logger.mode=offline and `wandb sync` later"
    return Finding("W&B", "warning" if wanted else "note", "not logged in", fix if wanted else "")


def _has_key(host: str) -> bool:
    file = Path(os.environ.get("NETRC", "~/.netrc")).expanduser()
    try:
        return netrc.netrc(file).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False


def network() -> Iterator[Finding]:
    """Whether the publisher of weights and W&B answer."""
    hub, wandb = os.environ.get("HF_ENDPOINT", _HUB), os.environ.get("WANDB_BASE_URL", _WANDB)
    for page, fix in ((hub, "negprompt fetch elsewhere"), (wandb, "logger.mode=offline")):
        try:
            reached(page)
        except OSError as error:
            yield Finding(page, "warning", f"no answer ({getattr(error, 'reason', error)})", fix)
        else:
            yield Finding(page, "ok", "answers")


def gib(num_bytes: float) -> str:
    """Bytes for people.

    Example:
        >>> gib(3 * 2**30), gib(5e6)
        ('3.0 GiB', '5 MB')
    """
    return f"{num_bytes / 2**30:,.1f} GiB" if num_bytes >= 2**29 else f"{num_bytes / 1e6:,.0f} MB"
