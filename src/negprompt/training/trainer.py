"""Lightning trainers from checked settings: one to fit with checkpoints, one to run over pictures."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

import lightning
from lightning.pytorch.accelerators import CUDAAccelerator, MPSAccelerator
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from pydantic import Field

from negprompt.errors import ConfigError
from negprompt.settings import Settings
from negprompt.training.callbacks import CsvRows, Rows, Saved
from negprompt.training.checkpoint import AtomicCheckpointIO

CHECKPOINT = "last"


class TrainerSettings(Settings):
    """Where and how a fit runs. Only `precision` can change a result; the rest stays out of the request hash.

    `devices`: processes that work together, one device each; with the negprompt command they are started for you.
    """

    accelerator: Annotated[Literal["auto", "cpu", "gpu"], Field(exclude=True)] = "auto"
    devices: Annotated[int, Field(ge=1, exclude=True)] = 1
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    num_workers: Annotated[int, Field(ge=0, exclude=True)] = 0
    eval_batch_size: Annotated[int, Field(ge=1, exclude=True)] = 256
    progress_bar: Annotated[bool, Field(exclude=True)] = True

    def check(self) -> None:
        """Refuse a GPU that is not there, and half precision that Lightning would quietly exchange on a CPU."""
        has_gpu = CUDAAccelerator.is_available() or MPSAccelerator.is_available()
        if self.on_cuda and self.devices > CUDAAccelerator.auto_device_count():
            msg = f"trainer.devices={self.devices}, but this machine has {CUDAAccelerator.auto_device_count()} GPUs."
            raise ConfigError(msg)
        if self.accelerator == "gpu" and not has_gpu:
            msg = "trainer.accelerator=gpu: there is no usable GPU on this machine; set trainer=auto or trainer=cpu."
            raise ConfigError(msg)
        if self.precision == "16-mixed" and (self.accelerator == "cpu" or not has_gpu):
            msg = (
                "trainer.precision=16-mixed needs a GPU: on a CPU set trainer.precision=32-true, or bf16-mixed, which "
                "works there too."
            )
            raise ConfigError(msg)

    @property
    def on_cuda(self) -> bool:
        """Whether the run takes CUDA devices."""
        return self.accelerator != "cpu" and bool(CUDAAccelerator.is_available())


def fit_trainer(
    settings: TrainerSettings,
    folder: Path,
    num_epochs: int,
    write_csv: Callable[[bytes], None],
    saved: Callable[[Rows], None] | None = None,
) -> lightning.Trainer:
    """A trainer that keeps `checkpoints/last.ckpt` and `metrics.csv` of a run folder up to date at every epoch.

    `saved` is told of the rows each time after their checkpoint is on the disk.
    """
    checkpoint = ModelCheckpoint(
        dirpath=folder / "checkpoints", filename=CHECKPOINT, save_on_train_epoch_end=True, enable_version_counter=False
    )
    rows = CsvRows(write_csv)
    told = [] if saved is None else [Saved(rows, saved)]
    return _trainer(
        settings,
        max_epochs=num_epochs,
        default_root_dir=folder,
        callbacks=[rows, checkpoint, *told],
        plugins=[AtomicCheckpointIO()],
        num_sanity_val_steps=0,
        log_every_n_steps=1,
        logger=False,
    )


def run_trainer(settings: TrainerSettings) -> lightning.Trainer:
    """A trainer for predict and test loops; it cannot write a checkpoint."""
    return _trainer(settings, enable_checkpointing=False, logger=False)


@contextmanager
def interruptible() -> Iterator[None]:
    """Let Ctrl-C out of a loop as KeyboardInterrupt.

    Lightning makes an exit of it and ignores every later one; loader processes that end too slowly make an error of it.
    """
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    except (SystemExit, Exception) as stop:
        if _follows_interrupt(stop):
            raise KeyboardInterrupt from stop
        raise
    finally:
        if handler is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, handler)


def _follows_interrupt(error: BaseException) -> bool:
    """Whether an error was raised while a Ctrl-C was being handled."""
    earlier = error.__context__
    return earlier is not None and (isinstance(earlier, KeyboardInterrupt) or _follows_interrupt(earlier))


def _trainer(
    settings: TrainerSettings, callbacks: list[Callback] | None = None, **options: object
) -> lightning.Trainer:
    return lightning.Trainer(
        accelerator=settings.accelerator,
        devices=settings.devices,
        strategy="ddp" if settings.devices > 1 else "auto",
        precision=settings.precision,
        enable_progress_bar=settings.progress_bar,
        callbacks=callbacks,
        enable_model_summary=False,
        deterministic="warn",
        use_distributed_sampler=False,
        **options,  # type: ignore[arg-type]
    )
