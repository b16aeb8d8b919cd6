"""What happens beside the steps of a fit: curves, checkpoints, and the stop that a signal asked for."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import lightning
import torch
import torch.distributed as dist
from lightning.pytorch.callbacks import Checkpoint
from torch import Tensor

from negprompt import stopping
from negprompt.ranks import world_size
from negprompt.training.checkpoint import IDENTITY

Rows = list[dict[str, float]]


class OurSignals(lightning.Callback):
    """Lightning puts its own handler in the place of ours, which would stop at once or not at all."""

    def on_train_start(self, *_: object) -> None:
        """Take the signals back."""
        stopping.take_back()

    def on_test_start(self, *_: object) -> None:
        """Take the signals back."""
        stopping.take_back()

    def on_predict_start(self, *_: object) -> None:
        """Take the signals back."""
        stopping.take_back()

    def on_test_batch_start(self, *_: object) -> None:
        """Stop where Python lost the interrupt, as it does when the signal came while it cleared an object away."""
        _stop_if_asked()

    def on_predict_batch_start(self, *_: object) -> None:
        """Stop, as `on_test_batch_start` does."""
        _stop_if_asked()


class LastStep(lightning.Callback):
    """Ends training after a step of the optimiser, also within an epoch.

    Lightning's own `max_steps` miscounts the epochs of a run that goes on from the end of one.

    Args:
        steps: to train.
    """

    def __init__(self, steps: int) -> None:
        self._steps = steps

    def on_train_start(self, trainer: lightning.Trainer, *_: object) -> None:
        """A checkpoint may be that of the last step."""
        self._look(trainer)

    def on_train_batch_end(self, trainer: lightning.Trainer, *_: object) -> None:
        """Let this batch be the last one."""
        self._look(trainer)

    def _look(self, trainer: lightning.Trainer) -> None:
        trainer.should_stop = trainer.should_stop or trainer.global_step >= self._steps


class Curves(lightning.Callback):
    """One row an epoch with the means of the loss terms: a resumed run goes on in the same curve, to the bit.

    Means are summed up step by step in the checkpoint's own state, so an epoch that was stopped in the middle has the
    row of one that was not.

    Args:
        publish: gets all rows so far, each time after a checkpoint with them is on the disk.
    """

    def __init__(self, publish: Callable[[Rows], None]) -> None:
        self._publish = publish
        self._rows: Rows = []
        self._sums: dict[str, float] = {}
        self._batches = 0

    def on_fit_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Cut what was published back to the checkpoint, or complete it."""
        del pl_module
        if trainer.is_global_zero and self._rows:
            self._publish(self._rows)

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, outputs: object, *_: object
    ) -> None:
        """Add the terms of a step."""
        del trainer, pl_module
        terms: Mapping[str, float] = outputs["terms"]  # type: ignore[index]  # what training_step returned
        for name, value in terms.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
        self._batches += 1

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Append the epoch's means."""
        del pl_module
        means = {f"train/{name}": total / self._batches for name, total in self._sums.items()}
        rate = float(trainer.optimizers[0].param_groups[0]["lr"])
        self._rows.append({"epoch": trainer.current_epoch, "step": trainer.global_step, "lr": rate, **means})
        self._sums, self._batches = {}, 0

    def published(self) -> None:
        """Tell of the rows, to be called when they are on the disk."""
        if self._rows:
            self._publish(self._rows)

    def state_dict(self) -> dict[str, Any]:
        """Rows written so far, and the sums of the epoch that is running."""
        return {"rows": self._rows, "sums": self._sums, "batches": self._batches}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on after the rows of the checkpoint; later ones belong to steps that are trained again."""
        self._rows, self._sums = list(state_dict["rows"]), dict(state_dict["sums"])
        self._batches = int(state_dict["batches"])


class Checkpoints(Checkpoint):
    """Saves at every epoch's end, every so many minutes, and where a signal stops the run; always between two steps.

    Gradients that are being accumulated are in no checkpoint, so only the end of an optimiser's step will do.

    Args:
        path: of the checkpoint.
        identity: names the run in it.
        minutes: between two saves within an epoch.
        curves: told when their rows are on the disk.
        before_save: raises where this process must not write any more; None where nobody else can.
    """

    def __init__(
        self,
        path: Path,
        identity: Mapping[str, Any],
        minutes: float,
        curves: Curves,
        before_save: Callable[[], None] | None = None,
    ) -> None:
        self._path = path
        self._identity = dict(identity)
        self._seconds = 60 * minutes
        self._curves = curves
        self._before_save = before_save
        self._saved = time.monotonic()

    def on_save_checkpoint(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Name the run."""
        del trainer, pl_module
        checkpoint[IDENTITY] = self._identity

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: object,
        batch: object,
        batch_idx: int,
    ) -> None:
        """Save in the middle of an epoch where it is time, or where the run is to stop."""
        del outputs, batch
        if (batch_idx + 1) % trainer.accumulate_grad_batches or batch_idx + 1 == trainer.num_training_batches:
            return  # between two steps of the optimiser; or the epoch's end, which saves anyway
        is_late = time.monotonic() - self._saved >= self._seconds
        stops, due = _anywhere(stopping.received() is not None, is_late, pl_module.device)
        if stops or due:
            self._save(trainer)
        if stops:
            raise KeyboardInterrupt

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Save, then stop where that was asked for."""
        stops, _ = _anywhere(stopping.received() is not None, False, pl_module.device)
        self._save(trainer)
        if stops:
            raise KeyboardInterrupt

    def _save(self, trainer: lightning.Trainer) -> None:
        if self._before_save is not None:
            self._before_save()
        trainer.save_checkpoint(self._path)
        self._saved = time.monotonic()
        if trainer.is_global_zero:
            self._curves.published()


def to_csv(rows: Rows) -> bytes:
    """Rows as csv with one header of all their columns."""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, columns, restval="")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue().encode()


def from_csv(text: str) -> Rows:
    """Rows of a csv file; empty cells are left out."""
    rows = csv.DictReader(io.StringIO(text))
    return [{name: float(value) for name, value in row.items() if value != ""} for row in rows]


def _stop_if_asked() -> None:
    if stopping.received() is not None:
        raise KeyboardInterrupt


def _anywhere(stops: bool, due: bool, device: torch.device) -> tuple[bool, bool]:
    """Whether any of the processes stops or is due, the same answer for all: they save and stop at the same step."""
    if world_size() == 1:
        return stops, due
    flags: Tensor = torch.tensor([float(stops), float(due)], device=device)
    dist.all_reduce(flags, dist.ReduceOp.MAX)
    return bool(flags[0] > 0), bool(flags[1] > 0)
