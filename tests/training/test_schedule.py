"""Learning rates: CoOp's table, the released code's swing, and what an optimiser is really given."""

from __future__ import annotations

import lightning
import pytest
import torch
from helpers import feature_data, small_coop
from torch.optim import SGD
from torch.optim.lr_scheduler import CosineAnnealingLR

from negprompt.training.schedule import OptimizerSettings, cosine_epochs, official_code

RECIPE = OptimizerSettings(lr=0.002, epochs=100)


def torch_cosine(t_max, lr=0.002):
    optimizer = SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)
    return optimizer, CosineAnnealingLR(optimizer, T_max=t_max)


@pytest.mark.parametrize(("epoch", "rate"), [(0, 1e-5), (1, 2.0e-3), (51, 1.0e-3), (99, 0.001 * (1 - 0.998026728428))])
def test_one_hundred_epochs_have_coops_rates(epoch, rate):
    assert cosine_epochs(epoch, 100, RECIPE) == pytest.approx(rate, rel=1e-9)


def test_after_the_warm_up_the_rate_is_torchs_cosine_that_starts_over():
    optimizer, schedule = torch_cosine(100)
    for epoch in range(1, 100):
        assert cosine_epochs(epoch, 100, RECIPE) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-6)
        optimizer.step()
        schedule.step()


def test_without_warm_up_the_first_epoch_has_the_full_rate():
    recipe = RECIPE.model_copy(update={"warmup_epochs": 0})
    assert cosine_epochs(0, 100, recipe) == 0.002


def test_more_epochs_than_asked_for_stretch_the_cosine():
    assert cosine_epochs(101, 200, RECIPE) == pytest.approx(0.001)


@pytest.mark.parametrize(
    ("epochs", "min_steps", "batches", "expected"), [(10, 0, 3, 10), (10, 31, 3, 11), (10, 30, 3, 10), (1, 100, 7, 15)]
)
def test_epochs_grow_until_the_smallest_number_of_steps_is_reached(epochs, min_steps, batches, expected):
    recipe = OptimizerSettings(lr=0.1, epochs=epochs, min_steps=min_steps)
    assert recipe.num_epochs(batches) == expected


RELEASED = OptimizerSettings(lr=0.1, epochs=10, schedule="official_code", momentum=0.0, weight_decay=0.0)


@pytest.mark.parametrize("batches", [1, 3, 8, 25])
def test_the_released_schedule_is_torchs_cosine_called_after_steps_and_epochs(batches):
    optimizer, schedule = torch_cosine(50, lr=0.1)
    for step in range(8 * batches):
        expected = optimizer.param_groups[0]["lr"]
        assert official_code(step, batches, RELEASED) == pytest.approx(expected, abs=1e-9)
        optimizer.step()
        schedule.step()
        if (step + 1) % batches == 0:
            schedule.step()


def test_the_released_rate_falls_to_zero_and_rises_again_every_hundred_calls():
    rates = [official_code(step, 10**9, RELEASED) for step in range(201)]
    assert rates[0] == rates[100] == rates[200] == 0.1
    assert rates[50] == rates[150] == pytest.approx(0, abs=1e-12)
    assert rates[:100] == pytest.approx(rates[100:200])


# --- what the optimiser is given -----------------------------------------------------------------------------------


class Rates(lightning.Callback):
    """Learning rate of every step."""

    def __init__(self):
        self.rates = []

    def on_before_optimizer_step(self, _trainer, _module, optimizer):
        self.rates.append(optimizer.param_groups[0]["lr"])


def rates_of(recipe, epochs, tmp_path):
    seen = Rates()
    trainer = lightning.Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[seen],
        default_root_dir=tmp_path,
    )
    trainer.fit(small_coop(recipe), feature_data(num_samples=9, batch_size=3))
    return seen.rates


def test_a_fit_uses_the_cosine_of_each_epoch_for_all_its_steps(tmp_path):
    recipe = OptimizerSettings(lr=0.002, epochs=4)
    expected = [cosine_epochs(epoch, 4, recipe) for epoch in range(4) for _ in range(3)]
    assert rates_of(recipe, 4, tmp_path) == pytest.approx(expected)


def test_a_fit_with_the_released_schedule_counts_the_extra_call_of_each_epoch(tmp_path):
    expected = [official_code(step, 3, RELEASED) for step in range(12)]
    assert rates_of(RELEASED, 4, tmp_path) == pytest.approx(expected)
    assert expected[3] == pytest.approx(0.05 * (1 + torch.cos(torch.tensor(4 * torch.pi / 50)).item()))
