"""Lightning trainers from checked settings: one to fit with checkpoints, one to run over pictures."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import lightning
from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.pytorch.accelerators import CUDAAccelerator, MPSAccelerator
from lightning.pytorch.callbacks import Callback
from pydantic import Field

from negprompt import stopping
from negprompt.errors import ConfigError, NegPromptError
from negprompt.settings import LATER, Settings
from negprompt.training.callbacks import Checkpoints, Curves, LastStep, OurSignals, Rows
from negprompt.training.checkpoint import LAST, AtomicCheckpointIO


class TrainerSettings(Settings):
    """Where and how a fit runs. What cannot change a result stays out of the request hash.

    `devices`: processes that work together, one device each; with the negprompt command they are started for you.
    `accumulate_grad_batches`: batches of `optimizer.batch_size` pictures for one step of the optimiser.
    `gradient_clip_val`: largest length of the gradient, null for any.
    `checkpoint_minutes`: between two checkpoints within an epoch; there is always one at its end.
    """

    accelerator: Annotated[Literal["auto", "cpu", "gpu"], Field(exclude=True)] = "auto"
    devices: Annotated[int, Field(ge=1, exclude=True)] = 1
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    num_workers: Annotated[int, Field(ge=0, exclude=True)] = 0
    accumulate_grad_batches: Annotated[int, Field(ge=1, json_schema_extra=LATER)] = 1
    gradient_clip_val: Annotated[float | None, Field(gt=0, json_schema_extra=LATER)] = None
    checkpoint_minutes: Annotated[float, Field(gt=0, exclude=True)] = 5.0
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
    identity: Mapping[str, Any],
    num_epochs: int,
    publish: Callable[[Rows], None],
    before_save: Callable[[], None] | None = None,
    max_steps: int | None = None,
) -> lightning.Trainer:
    """A trainer that keeps `last.ckpt` in a folder up to date.

    Args:
        settings: where and how.
        folder: of the checkpoints.
        identity: of the run, kept in them.
        num_epochs: to train.
        publish: gets the curves' rows each time after a checkpoint with them is on the disk.
        before_save: raises where this process must not write any more.
        max_steps: of the optimiser, where training ends before its last epoch does.
    """
    curves = Curves(publish)
    ends = [] if max_steps is None else [LastStep(max_steps)]
    return _trainer(
        settings,
        [*ends, curves, Checkpoints(folder / LAST, identity, settings.checkpoint_minutes, curves, before_save)],
        [AtomicCheckpointIO()],
        max_epochs=num_epochs,
        accumulate_grad_batches=settings.accumulate_grad_batches,
        gradient_clip_val=settings.gradient_clip_val,
        num_sanity_val_steps=0,
    )


def run_trainer(settings: TrainerSettings, *, gradients: bool = False) -> lightning.Trainer:
    """A trainer for predict and test loops; it cannot write a checkpoint.

    Args:
        settings: where and how.
        gradients: whether a score may ask for the gradient of what it does.
    """
    return _trainer(settings, enable_checkpointing=False, inference_mode=not gradients)


@contextmanager
def interruptible() -> Iterator[None]:
    """Let a signal that stops the command out of a loop as KeyboardInterrupt.

    Lightning makes an exit of Ctrl-C and ignores every later one; loader processes that ended by the same signal, or
    end too slowly, make an error of it. What this package itself has to say, of a full disk for example, is kept.
    """
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    except (SystemExit, Exception) as stop:
        if _follows_interrupt(stop) or (stopping.received() is not None and not isinstance(stop, NegPromptError)):
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
    settings: TrainerSettings, callbacks: Sequence[Callback] = (), plugins: Sequence[Any] = (), **options: object
) -> lightning.Trainer:
    return lightning.Trainer(
        accelerator=settings.accelerator,
        devices=settings.devices,
        strategy="ddp" if settings.devices > 1 else "auto",
        precision=settings.precision,
        enable_progress_bar=settings.progress_bar,
        callbacks=[OurSignals(), *callbacks],
        plugins=[_environment(), *plugins],
        enable_model_summary=False,
        deterministic="warn",
        use_distributed_sampler=False,
        logger=False,
        default_root_dir=os.devnull,  # no folder: in one, Lightning would find and load checkpoints of others
        **options,  # type: ignore[arg-type]
    )


def _environment() -> ClusterEnvironment:
    """Who started this process: torchrun, or nobody; never Slurm, for which Lightning would requeue jobs by itself."""
    return TorchElasticEnvironment() if TorchElasticEnvironment.detect() else LightningEnvironment()
