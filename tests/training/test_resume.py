"""A fit that stops anywhere and goes on from its checkpoint ends with the bits of one that never stopped."""

from __future__ import annotations

import lightning
import pytest
import torch
from helpers import CLASS_NAMES, SPEC, feature_data, image_set, small_coop
from lightning.pytorch.callbacks import ModelCheckpoint

from negprompt.data.base import Augmentation
from negprompt.data.datamodule import OODDataModule
from negprompt.training.checkpoint import AtomicCheckpointIO
from negprompt.training.sampler import EpochBatchSampler
from negprompt.training.schedule import OptimizerSettings
from negprompt.training.trainer import TrainerSettings, fit_trainer
from negprompt.types import Split

EPOCHS, STEPS = 3, 12
RECIPES = {
    "cosine": OptimizerSettings(lr=0.05, epochs=EPOCHS),
    "released": OptimizerSettings(lr=0.1, epochs=EPOCHS, schedule="official_code", momentum=0.0, weight_decay=0.0),
}


class Seen(lightning.Callback):
    """Rows of every training batch, and the learning rate they were learned with."""

    def __init__(self):
        self.steps = []

    def on_train_batch_start(self, trainer, _module, batch, _batch_idx):
        self.steps.append((batch["index"].tolist(), trainer.optimizers[0].param_groups[0]["lr"]))


def fit(folder, recipe, data, resume=None, max_steps=-1, **save):
    """Train; returns what was seen and the context. Checkpoints lie in `folder` by step."""
    module, seen = small_coop(recipe), Seen()
    callbacks = [seen]
    if save:
        callbacks.append(ModelCheckpoint(dirpath=folder, filename="{step}", save_top_k=-1, **save))
    trainer = lightning.Trainer(
        accelerator="cpu",
        max_epochs=EPOCHS,
        max_steps=max_steps,
        logger=False,
        enable_checkpointing=bool(save),
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        callbacks=callbacks,
        plugins=[AtomicCheckpointIO()],
        default_root_dir=folder,
    )
    trainer.fit(module, data, ckpt_path=resume, weights_only=True)
    return seen.steps, module.context.detach(), trainer


def features():
    return feature_data(num_samples=18, batch_size=4)


@pytest.fixture(scope="module", params=RECIPES)
def uninterrupted(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoints")
    steps, context, _ = fit(folder, RECIPES[request.param], features(), every_n_train_steps=1)
    return RECIPES[request.param], folder, steps, context


@pytest.mark.parametrize("step", range(1, STEPS + 1))
def test_going_on_from_any_step_repeats_the_rest_bit_for_bit(uninterrupted, step, tmp_path):
    recipe, folder, steps, context = uninterrupted
    rest, resumed, trainer = fit(tmp_path, recipe, features(), resume=str(folder / f"step={step}.ckpt"))
    assert rest == steps[step:]
    assert torch.equal(resumed, context)
    assert trainer.global_step == STEPS


@pytest.mark.parametrize("epoch", [1, 2, 3])
def test_going_on_from_the_end_of_an_epoch_repeats_the_rest_bit_for_bit(uninterrupted, epoch, tmp_path):
    recipe, _, steps, context = uninterrupted
    fit(tmp_path, recipe, features(), save_on_train_epoch_end=True)
    rest, resumed, _ = fit(tmp_path / "b", recipe, features(), resume=str(tmp_path / f"step={4 * epoch}.ckpt"))
    assert rest == steps[4 * epoch :]
    assert torch.equal(resumed, context)


def test_a_run_stopped_twice_ends_like_one_that_never_stopped(uninterrupted, tmp_path):
    recipe, _, steps, context = uninterrupted
    first, _, _ = fit(tmp_path / "1", recipe, features(), max_steps=3, every_n_train_steps=1)
    second, _, _ = fit(
        tmp_path / "2", recipe, features(), str(tmp_path / "1" / "step=3.ckpt"), max_steps=6, every_n_train_steps=1
    )
    third, resumed, _ = fit(tmp_path / "3", recipe, features(), str(tmp_path / "2" / "step=6.ckpt"))
    assert first + second + third == steps
    assert torch.equal(resumed, context)


def pictures(num_workers):
    train = image_set(10, num_classes=4)
    split = Split("some", CLASS_NAMES[:4], 4, train, train, {}, "")
    return OODDataModule(
        split,
        SPEC,
        Augmentation(),
        seed=1,
        eval_batch_size=8,
        num_workers=num_workers,
        train_batches=lambda num_samples, batches_done: EpochBatchSampler(num_samples, 2, 1, batches_done),
    )


@pytest.mark.parametrize("num_workers", [0, 2])
def test_augmented_pictures_go_on_exactly_with_and_without_loader_processes(tmp_path, num_workers):
    recipe = RECIPES["cosine"]
    steps, context, _ = fit(tmp_path / "all", recipe, pictures(0), every_n_train_steps=7)
    rest, resumed, _ = fit(tmp_path, recipe, pictures(num_workers), str(tmp_path / "all" / "step=7.ckpt"))
    assert len(steps) == 15
    assert rest == steps[7:]
    assert torch.equal(resumed, context)


# --- the product's own trainer -------------------------------------------------------------------------------------


class StopIn(lightning.Callback):
    """Fails at the beginning of an epoch."""

    def __init__(self, epoch):
        self.epoch = epoch

    def on_train_epoch_start(self, trainer, _module):
        if trainer.current_epoch == self.epoch:
            raise OSError("power cut")


def product_fit(folder, stop=None):
    """Train with the product's trainer, from `last.ckpt` where there is one; returns context, csv and step."""
    written = {"csv": None}
    settings = TrainerSettings(accelerator="cpu", progress_bar=False)
    trainer = fit_trainer(settings, folder, EPOCHS, lambda rows: written.update(csv=rows))
    if stop is not None:
        trainer.callbacks.append(StopIn(stop))
    last = folder / "checkpoints" / "last.ckpt"
    module = small_coop(RECIPES["cosine"])
    trainer.fit(module, features(), ckpt_path=str(last) if last.is_file() else None, weights_only=True)
    return module.context.detach(), written["csv"], trainer.global_step


@pytest.mark.parametrize("epoch", [1, 2])
def test_context_and_curves_of_a_resumed_fit_are_those_of_a_whole_one(tmp_path, epoch):
    context, csv, _ = product_fit(tmp_path / "whole")
    with pytest.raises(OSError, match="power cut"):
        product_fit(tmp_path / "broken", stop=epoch)
    resumed, resumed_csv, _ = product_fit(tmp_path / "broken")
    assert torch.equal(resumed, context)
    assert resumed_csv == csv
    assert csv.count(b"\n") == 1 + EPOCHS


def test_a_finished_fit_that_is_resumed_trains_no_step_more(tmp_path):
    context, csv, _ = product_fit(tmp_path)
    again, csv_again, step = product_fit(tmp_path)
    assert torch.equal(again, context)
    assert step == STEPS
    assert csv_again in (None, csv)


def test_only_the_last_checkpoint_is_kept(tmp_path):
    product_fit(tmp_path)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["last.ckpt"]


def test_a_checkpoint_holds_no_backbone_and_needs_no_trusted_code(tmp_path):
    product_fit(tmp_path)
    state = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    assert list(state) == ["context"]


def test_a_failing_write_leaves_the_previous_checkpoint(tmp_path, monkeypatch):
    file = tmp_path / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint({"step": 1}, file)

    def full(*args):
        raise OSError("disk full")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(Exception, match="Cannot write"):
        AtomicCheckpointIO().save_checkpoint({"step": 2}, file)
    assert torch.load(file, weights_only=True) == {"step": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["last.ckpt"]
