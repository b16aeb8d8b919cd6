"""Training curves as rows of a csv file that survives a resume without a gap or a repeated row."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from typing import Any

import lightning
from lightning.pytorch.callbacks import Checkpoint

Rows = list[dict[str, float]]


class CsvRows(lightning.Callback):
    """One row an epoch, kept in the checkpoint and written as a whole: a resumed run continues the same curve.

    Args:
        write: stores the file's content, atomically.
    """

    def __init__(self, write: Callable[[bytes], None]) -> None:
        self._write = write
        self._rows: Rows = []

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Append the epoch's means."""
        del pl_module
        if not trainer.is_global_zero:
            return
        values = {name: float(value) for name, value in trainer.callback_metrics.items()}
        rate = float(trainer.optimizers[0].param_groups[0]["lr"])
        self._rows.append({"epoch": trainer.current_epoch, "step": trainer.global_step, "lr": rate, **values})
        self._write(to_csv(self._rows))

    @property
    def rows(self) -> Rows:
        """Rows written so far."""
        return self._rows

    def state_dict(self) -> dict[str, Any]:
        """Rows written so far."""
        return {"rows": self._rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on after the rows of the checkpoint; later ones belong to steps that are trained again."""
        self._rows = list(state_dict["rows"])


class Saved(Checkpoint):
    """Tells of the rows when their checkpoint is on the disk; belongs behind the callback that writes it.

    Lightning calls checkpoint callbacks last and keeps their order, so this is one.

    Args:
        rows: whose rows.
        tell: gets all rows so far.
    """

    def __init__(self, rows: CsvRows, tell: Callable[[Rows], None]) -> None:
        self._rows = rows
        self._tell = tell

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Tell of the rows of the checkpoint that the run goes on from: it may have ended before they were told."""
        del pl_module
        if trainer.is_global_zero:
            self._tell(self._rows.rows)

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Tell of the rows."""
        del pl_module
        if trainer.is_global_zero:
            self._tell(self._rows.rows)


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
