"""What both trainings share: steps that depend on (seed, step) only, and a fit that goes on where it was killed."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator

import lightning as L  # noqa: N812
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from pictures import BUILD
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset


class Steps(IterableDataset[object]):
    """Batches ``make_batch(step)`` from the current step on: a resumed run sees what the killed one would have."""

    def __init__(self, make_batch: Callable[[int], object], current_step: Callable[[], int]) -> None:
        self.make_batch = make_batch
        self.current_step = current_step

    def __iter__(self) -> Iterator[object]:
        step = self.current_step()
        while True:
            yield self.make_batch(step)
            step += 1


class Progress(L.Callback):
    """One line every ``every`` steps: step, loss, seconds a step."""

    def __init__(self, every: int = 25) -> None:
        self.every = every
        self.began = time.time()

    def on_train_batch_end(self, trainer: L.Trainer, *_: object) -> None:
        """Print the line."""
        if trainer.global_step % self.every == 0:
            seconds, self.began = (time.time() - self.began) / self.every, time.time()
            values = "  ".join(f"{key} {float(value):.4f}" for key, value in trainer.callback_metrics.items())
            print(f"step {trainer.global_step} of {trainer.max_steps}: {values}  {seconds:.2f} s a step", flush=True)


def warm_cosine(optimizer: torch.optim.Optimizer, steps: int, warmup: int) -> dict[str, object]:
    """Lightning's scheduler entry: linear warm-up, then a cosine to zero, stepped with every batch."""

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        return 0.5 * (1.0 + math.cos(math.pi * min(1.0, (step - warmup) / max(1, steps - warmup))))

    return {"scheduler": torch.optim.lr_scheduler.LambdaLR(optimizer, factor), "interval": "step"}


def adamw(module: nn.Module, lr: float, weight_decay: float) -> torch.optim.AdamW:
    """AdamW that decays matrices and kernels, but no vector, scalar or embedding."""
    parameters = [(name, p) for name, p in module.named_parameters() if p.requires_grad]
    kept: list[Tensor] = [p for name, p in parameters if p.ndim < 2 or "embedding" in name]
    decayed: list[Tensor] = [p for name, p in parameters if p.ndim >= 2 and "embedding" not in name]
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": kept, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.98))


def fit(module: L.LightningModule, make_batch: Callable[[int], object], steps: int, run: str) -> None:
    """Train ``module`` for ``steps`` steps in ``build/<run>``, from its last checkpoint if there is one."""
    folder = BUILD / run
    saver = ModelCheckpoint(folder, save_last=True, save_top_k=0, every_n_train_steps=100)
    trainer = L.Trainer(
        accelerator="cpu",
        max_steps=steps,
        max_epochs=-1,
        logger=CSVLogger(BUILD, name=run),
        callbacks=[saver, Progress()],
        log_every_n_steps=25,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    last = folder / "last.ckpt"
    loader = DataLoader(Steps(make_batch, lambda: trainer.global_step), batch_size=None)
    trainer.fit(module, loader, ckpt_path=last if last.exists() else None)
    trainer.save_checkpoint(last)
