"""Checkpoints that are whole or absent: the previous one is kept until the new one is on the disk."""

from __future__ import annotations

import io
import logging
import os
import shutil
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO

from negprompt.errors import RunError
from negprompt.runs.folder import atomic_write, explained

log = logging.getLogger(__name__)

LAST, PREVIOUS = "last.ckpt", "previous.ckpt"
IDENTITY = "negprompt"
"""Key of a checkpoint under which its run is named."""


class AtomicCheckpointIO(TorchCheckpointIO):
    """Lightning's checkpoint format behind an atomic rename; what was there becomes `previous.ckpt`."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:  # noqa: ANN401
        """Write a checkpoint; a crash at any point leaves it or the one before whole.

        Raises:
            RunError: it cannot be written.
        """
        del storage_options
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        target = Path(path)
        if target.is_file():
            with explained(target):
                _keep(target, target.with_name(PREVIOUS))
        atomic_write(target, buffer.getvalue())


def usable_checkpoint(folder: Path, identity: Mapping[str, Any]) -> Path | None:
    """The newest checkpoint of a folder that is whole, None where there is none.

    A damaged one is reported and renamed to `<name>.damaged`, so that it never takes the place of a whole one.

    Args:
        folder: of the checkpoints.
        identity: of the run that wants to go on.

    Raises:
        RunError: a checkpoint belongs to another run, or the disk does not give it.
    """
    for path in (folder / LAST, folder / PREVIOUS):
        if not path.is_file():
            continue
        try:
            checkpoint = _load_whole(path)
        except RunError:
            raise
        except Exception as error:  # noqa: BLE001 -- there is no list of what damage can lead to
            log.warning(
                "%s is damaged (%s): the checkpoint before it is used, or the training starts again.", path, error
            )
            with suppress(OSError):
                path.replace(path.with_name(f"{path.name}.damaged"))
            continue
        _check_identity(path, checkpoint.get(IDENTITY), identity)
        return path
    return None


def _load_whole(path: Path) -> dict[str, Any]:
    """Read a checkpoint; every byte of a zip's members is covered by its sums, which torch.load does not look at."""
    try:
        content = path.read_bytes()
    except OSError as error:  # not the file's fault: nothing is given up for it
        msg = f"Cannot read {path} ({error.strerror}): make it readable, or remove it to go on without it."
        raise RunError(msg) from error
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        broken = archive.testzip()
    if broken is not None:
        msg = f"{broken} does not match its checksum"
        raise ValueError(msg)
    checkpoint = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    if not isinstance(checkpoint, dict):
        msg = f"it holds a {type(checkpoint).__name__}"
        raise ValueError(msg)  # noqa: TRY004 -- a damaged file, whatever is in it
    return checkpoint


def _check_identity(path: Path, found: Mapping[str, Any] | None, wanted: Mapping[str, Any]) -> None:
    if found == dict(wanted):
        return
    differing = {key: (found or {}).get(key) for key in wanted if (found or {}).get(key) != wanted[key]}
    given = ", ".join(f"{key} {value}" for key, value in differing.items()) if found else "no run named in it"
    expected = ", ".join(f"{key} {wanted[key]}" for key in differing)
    msg = (
        f"{path} is a checkpoint of something else ({given}; this run has {expected}): remove it to train from the "
        "start, or set resume=never."
    )
    raise RunError(msg)


def _keep(file: Path, as_name: Path) -> None:
    """Give a file a second name, in the place of what had it."""
    temporary = as_name.with_name(f".{as_name.name}.tmp")
    temporary.unlink(missing_ok=True)
    try:
        os.link(file, temporary)
    except OSError:  # a file system without hard links
        shutil.copyfile(file, temporary)
    temporary.replace(as_name)
