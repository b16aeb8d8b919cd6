"""A fit that stops anywhere and goes on from its checkpoint ends with the bits of one that never stopped."""

from __future__ import annotations

import signal
from typing import NamedTuple

import lightning
import pytest
import torch
from helpers import CLASS_NAMES, SPEC, feature_data, image_set, small_coop
from helpers import listening as stopping_listens
from lightning.pytorch.callbacks import ModelCheckpoint

from negprompt import stopping
from negprompt.data.base import Augmentation
from negprompt.data.datamodule import OODDataModule
from negprompt.errors import RunError
from negprompt.training.callbacks import to_csv
from negprompt.training.checkpoint import AtomicCheckpointIO, usable_checkpoint
from negprompt.training.sampler import EpochBatchSampler
from negprompt.training.schedule import OptimizerSettings
from negprompt.training.trainer import TrainerSettings, fit_trainer, interruptible
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


IDENTITY = {"run": "seed1-12345678", "schema": 1}


class StopAt(lightning.Callback):
    """Receives SIGTERM, or fails, at a step of the whole run."""

    def __init__(self, step, error=None):
        self.step, self.error, self.seen = step, error, 0

    def on_train_batch_start(self, trainer, *_):
        if trainer.fit_loop.epoch_loop.batch_progress.total.ready == self.step:
            if self.error is not None:
                raise self.error
            signal.raise_signal(signal.SIGTERM)


class Fitted(NamedTuple):
    context: torch.Tensor
    csv: bytes | None
    step: int


def product_fit(folder, stop=None, recipe="cosine", data=features, **trainer_settings):
    """Train with the product's trainer, from its checkpoint where there is one."""
    written = {"csv": None}
    settings = TrainerSettings(accelerator="cpu", progress_bar=False, **trainer_settings)
    trainer = fit_trainer(settings, folder, IDENTITY, EPOCHS, lambda rows: written.update(csv=to_csv(rows)))
    if stop is not None:
        trainer.callbacks.insert(0, stop)
    module = small_coop(RECIPES[recipe])
    with stopping.at_boundaries(), interruptible():
        trainer.fit(module, data(), ckpt_path=usable_checkpoint(folder, IDENTITY), weights_only=True)
    return Fitted(module.context.detach(), written["csv"], trainer.global_step)


@pytest.fixture
def listening():
    with stopping_listens():
        yield


def stopped_fit(folder, step, **settings):
    """A fit that gets SIGTERM during step number `step`, 1-based."""
    stopping.listen()
    with pytest.raises(KeyboardInterrupt):
        product_fit(folder, StopAt(step), **settings)
    assert stopping.received() == signal.SIGTERM
    stopping.listen()


CASES = {
    "cosine": {},
    "released schedule": {"recipe": "released"},
    "two batches a step": {"accumulate_grad_batches": 2},
    "three batches a step, the last group smaller": {"accumulate_grad_batches": 3},
    "clipped": {"gradient_clip_val": 0.01},
}


@pytest.mark.parametrize("case", CASES)
def test_a_signal_at_any_step_loses_nothing(listening, tmp_path, case):
    whole = product_fit(tmp_path / "whole", **CASES[case])
    every = CASES[case].get("accumulate_grad_batches", 1)
    for step in range(1, STEPS + 1):
        folder = tmp_path / f"{step}"
        stopped_fit(folder, step, **CASES[case])
        saved = torch.load(folder / "last.ckpt", weights_only=True)
        within = (step - 1) % 4 + 1
        boundary = step - within + min(4, -(-within // every) * every)
        progress = saved["loops"]["fit_loop"]["epoch_loop.batch_progress"]["total"]
        assert progress["ready"] == boundary
        resumed = product_fit(folder, **CASES[case])
        assert torch.equal(resumed.context, whole.context)
        assert resumed.csv == whole.csv
        assert resumed.step == whole.step
    assert whole.csv.count(b"\n") == 1 + EPOCHS


def test_a_fit_stopped_at_every_step_ends_like_one_that_never_stopped(listening, tmp_path):
    whole = product_fit(tmp_path / "whole")
    for step in range(1, STEPS + 1):
        stopped_fit(tmp_path / "broken", step)
    resumed = product_fit(tmp_path / "broken")
    assert torch.equal(resumed.context, whole.context)
    assert resumed.csv == whole.csv


@pytest.mark.parametrize("num_workers", [0, 2])
def test_augmented_pictures_go_on_exactly_after_a_signal(listening, tmp_path, num_workers):
    whole = product_fit(tmp_path / "whole", data=lambda: pictures(0))
    stopped_fit(tmp_path / "broken", 8, data=lambda: pictures(num_workers))
    resumed = product_fit(tmp_path / "broken", data=lambda: pictures(num_workers))
    assert torch.equal(resumed.context, whole.context)
    assert resumed.csv == whole.csv


@pytest.mark.parametrize("step", [1, 5, 8])
def test_a_crash_loses_the_steps_since_the_last_checkpoint_and_no_more(tmp_path, step):
    whole = product_fit(tmp_path / "whole")
    with pytest.raises(OSError, match="power cut"):
        product_fit(tmp_path / "broken", StopAt(step, OSError("power cut")))
    resumed = product_fit(tmp_path / "broken")
    assert torch.equal(resumed.context, whole.context)
    assert resumed.csv == whole.csv


def test_long_epochs_are_saved_in_between(tmp_path):
    with pytest.raises(OSError, match="power cut"):
        product_fit(tmp_path, StopAt(3, OSError("power cut")), checkpoint_minutes=1e-9)
    saved = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert saved["global_step"] == 2


def test_two_batches_a_step_are_one_batch_of_both(tmp_path):
    pairs = product_fit(tmp_path / "a", accumulate_grad_batches=2)
    ones = product_fit(tmp_path / "b", data=lambda: feature_data(num_samples=18, batch_size=8))
    apart = product_fit(tmp_path / "c")
    assert pairs.step == ones.step == 6
    assert float((pairs.context - ones.context).norm()) < 1e-4 * float((pairs.context - apart.context).norm())


def test_a_clipped_gradient_moves_the_context_less(tmp_path):
    start = small_coop(RECIPES["cosine"]).context.detach()
    free, clipped = product_fit(tmp_path / "a"), product_fit(tmp_path / "b", gradient_clip_val=1e-3)
    assert float((clipped.context - start).norm()) < 0.5 * float((free.context - start).norm())


# --- signals -------------------------------------------------------------------------------------------------------


def test_outside_of_training_a_signal_stops_at_once_and_only_ctrl_c_insists(listening):
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGUSR1)
    signal.raise_signal(signal.SIGTERM)
    signal.raise_signal(signal.SIGINT)
    assert stopping.received() == signal.SIGUSR1


def insisting(after=signal.SIGINT):
    with stopping.at_boundaries():
        signal.raise_signal(after)
        if after != signal.SIGINT:
            signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGUSR2)
        assert stopping.received() == after
        signal.raise_signal(signal.SIGINT)
        pytest.fail("nobody heard")


def test_a_second_ctrl_c_does_not_wait_for_the_step(listening):
    with pytest.raises(KeyboardInterrupt):
        insisting()


@pytest.mark.parametrize("first", [signal.SIGUSR1, signal.SIGTERM])
def test_ctrl_c_twice_insists_also_after_another_signal(listening, first):
    with pytest.raises(KeyboardInterrupt):
        insisting(after=first)
    assert stopping.received() == signal.SIGINT


def test_a_signal_after_the_last_step_stops_as_well(listening):
    with pytest.raises(KeyboardInterrupt), stopping.at_boundaries():
        signal.raise_signal(signal.SIGUSR2)


def test_what_the_shell_lets_a_command_ignore_stays_ignored(listening):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    stopping.listen()
    signal.raise_signal(signal.SIGINT)
    assert stopping.received() is None


# --- checkpoints ---------------------------------------------------------------------------------------------------


def test_a_finished_fit_that_is_resumed_trains_no_step_more_and_completes_its_curve(tmp_path):
    first, again = product_fit(tmp_path), product_fit(tmp_path)
    assert torch.equal(again.context, first.context)
    assert again.step == STEPS
    assert again.csv == first.csv


def test_the_checkpoint_and_the_one_before_it_are_kept(tmp_path):
    product_fit(tmp_path)
    steps = {path.name: torch.load(path, weights_only=True)["global_step"] for path in tmp_path.iterdir()}
    assert steps == {"last.ckpt": STEPS, "previous.ckpt": STEPS - 4}


def test_a_checkpoint_holds_no_backbone_and_needs_no_trusted_code(tmp_path):
    product_fit(tmp_path)
    state = torch.load(tmp_path / "last.ckpt", weights_only=True)["state_dict"]
    assert list(state) == ["context"]


def cut(path):
    path.write_bytes(path.read_bytes()[:-100])


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[content.index(b"data/0") + 200] ^= 1
    path.write_bytes(content)


def empty(path):
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [cut, flip_a_bit, empty])
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_used(tmp_path, caplog, damage):
    whole = product_fit(tmp_path / "whole")
    with pytest.raises(OSError, match="power cut"):
        product_fit(tmp_path / "broken", StopAt(9, OSError("power cut")))
    damage(tmp_path / "broken" / "last.ckpt")
    assert usable_checkpoint(tmp_path / "broken", IDENTITY) == tmp_path / "broken" / "previous.ckpt"
    assert "last.ckpt is damaged" in caplog.text
    resumed = product_fit(tmp_path / "broken")
    assert torch.equal(resumed.context, whole.context)
    assert resumed.csv == whole.csv
    assert torch.load(tmp_path / "broken" / "last.ckpt", weights_only=True)["global_step"] == STEPS


def test_where_both_are_damaged_training_starts_again(tmp_path, caplog):
    whole = product_fit(tmp_path)
    for name in ("last.ckpt", "previous.ckpt"):
        cut(tmp_path / name)
    assert torch.equal(product_fit(tmp_path).context, whole.context)
    assert caplog.text.count("is damaged") == 2


@pytest.mark.parametrize(
    ("other", "named"),
    [
        ({**IDENTITY, "run": "seed2-87654321"}, "run seed1-12345678; this run has run seed2-87654321"),
        ({**IDENTITY, "schema": 2}, "schema 1; this run has schema 2"),
    ],
)
def test_a_checkpoint_of_something_else_is_refused_by_name(tmp_path, other, named):
    product_fit(tmp_path)
    with pytest.raises(RunError, match=named):
        usable_checkpoint(tmp_path, other)
    assert (tmp_path / "last.ckpt").is_file()


def test_a_checkpoint_that_names_no_run_is_refused(tmp_path):
    AtomicCheckpointIO().save_checkpoint({"step": 1}, tmp_path / "last.ckpt")
    with pytest.raises(RunError, match="no run named in it"):
        usable_checkpoint(tmp_path, IDENTITY)


def test_a_failing_write_leaves_the_previous_checkpoint(tmp_path, monkeypatch):
    file = tmp_path / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint({"step": 1}, file)

    def full(*args):
        raise OSError("disk full")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(Exception, match="Cannot write"):
        AtomicCheckpointIO().save_checkpoint({"step": 2}, file)
    assert torch.load(file, weights_only=True) == {"step": 1}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["last.ckpt", "previous.ckpt"]


def test_without_hard_links_the_previous_one_is_a_copy(tmp_path, monkeypatch):
    monkeypatch.setattr("os.link", lambda *_: (_ for _ in ()).throw(PermissionError()))
    for step in (1, 2):
        AtomicCheckpointIO().save_checkpoint({"step": step}, tmp_path / "last.ckpt")
    found = {path.name: torch.load(path, weights_only=True)["step"] for path in tmp_path.iterdir()}
    assert found == {"last.ckpt": 2, "previous.ckpt": 1}
