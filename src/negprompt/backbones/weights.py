"""Weights of a backbone as files: where they are, and how they come to a machine, whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock
from huggingface_hub import try_to_load_from_cache

from negprompt.errors import BackboneError
from negprompt.runs.folder import explained, sync_folder

_PATIENCE_S = 20
HUB_FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
"""What its repositories on the Hugging Face hub hold, the better one first."""
WEIGHTS_DIR = "paths.weights_dir=<folder>"


class Weights(NamedTuple):
    """Where the weights of a backbone are: `path` on this machine, None where they are not here; `page` has them."""

    path: Path | None
    page: str


class Shape(NamedTuple):
    """Sizes of a backbone that say what a run needs.

    `parameters`: numbers in both towers; `feature_width`: of a picture's or a prompt's feature; `text_width`,
    `text_depth`: of the text tower's hidden states, and its layers.
    """

    parameters: int
    feature_width: int
    text_width: int
    text_depth: int


def bring(stem: str, folder: Path, download: Callable[[Path], Path], loads: Callable[[Path], object]) -> Path:
    """Put weights into a folder under the name that runs look for: checked first, so never half.

    Args:
        stem: the file's name without its ending, which is that of the download.
        folder: where runs look.
        download: brings the file below the given folder and returns its path.
        loads: raises for a file that is no model's.

    Returns:
        The file.

    Raises:
        RunError: the folder cannot be written.
        BackboneError: the file is not what its publisher says.
        Exception: what `download` and `loads` raise.
    """
    staging = folder / f".{stem}.partial"
    with explained(folder, WEIGHTS_DIR):
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / f".{stem}.lock")  # a second fetch waits, and then finds the first one's
        lock.acquire()
    try:
        shutil.rmtree(staging, ignore_errors=True)  # of one that was killed
        with explained(staging, WEIGHTS_DIR):
            staging.mkdir()
        downloaded = download(staging)
        content = downloaded.resolve()  # caches hand out links
        _refuse_other_bytes(content)
        whole = content.rename(staging / f"{stem}{downloaded.suffix}")
        loads(whole)
        target = folder / whole.name
        whole.replace(target)
        sync_folder(folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        lock.release()
    return target


def page_of(source: Mapping[str, Any]) -> str:
    """Address of the weights that open_clip's entry of a tag names; "" where it names none."""
    hub = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
    return f"{hub}/{source['hf_hub'].rstrip('/')}" if source.get("hf_hub") else str(source.get("url", ""))


def downloaded(source: Mapping[str, Any]) -> Path | None:
    """What open_clip has downloaded before, None where it has not."""
    if not source.get("hf_hub"):
        file = Path("~/.cache/clip").expanduser() / Path(source.get("url", "")).name
        return file if file.is_file() else None
    repository, _, named = source["hf_hub"].rpartition("/")
    found = (try_to_load_from_cache(repository, name) for name in ([named] if named else HUB_FILES))
    return next((Path(file) for file in found if isinstance(file, str)), None)


def reached(page: str) -> None:
    """Ask an address once: the library behind it tries for a minute, and fills the terminal, where nothing answers.

    Raises:
        OSError: nothing answers there.
    """
    with contextlib.suppress(urllib.error.HTTPError):  # an answer, whatever it says of this address
        urllib.request.urlopen(urllib.request.Request(page, method="HEAD"), timeout=_PATIENCE_S).close()


def _refuse_other_bytes(file: Path) -> None:
    """Compare a file with the hash that its cache named it by; without such a name nothing is known of its bytes."""
    if not re.fullmatch(r"[0-9a-f]{64}", file.name):
        return
    with file.open("rb") as opened:
        found = hashlib.file_digest(opened, "sha256").hexdigest()
    if found != file.name:
        msg = f"The download is damaged: its SHA-256 is {found}, its publisher says {file.name}. Fetch it again."
        raise BackboneError(msg)
