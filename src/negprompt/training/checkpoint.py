"""Checkpoints that are whole or absent: written beside, synced, then renamed over the previous one."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO

from negprompt.runs.folder import atomic_write


class AtomicCheckpointIO(TorchCheckpointIO):
    """Lightning's checkpoint format behind an atomic rename."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:  # noqa: ANN401
        """Write a checkpoint; a crash in the middle leaves the previous one."""
        del storage_options
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(target, buffer.getvalue())
