"""Holds for the optimiser's steps of every method in conf/method that trains: accumulated, clipped, scheduled."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from helpers import CLASS_NAMES, QUIET, feature_data, shared_backbone
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from negprompt.cli.build import build_request
from negprompt.prompts.bundle import class_names_sha256
from negprompt.training.schedule import OptimizerSettings, official_code
from negprompt.training.trainer import fit_trainer
from negprompt.types import PromptBundle

CONF = Path(__file__).parents[2] / "conf"
CLASSES = CLASS_NAMES[:4]
RATE = 1e-3
ONE_STEP = OptimizerSettings(lr=RATE, epochs=1, momentum=0.0, weight_decay=0.0, warmup_epochs=0)


def settings_of(name):
    """Settings of `method=<name>`."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = OmegaConf.to_container(compose("train", [f"method={name}"]), resolve=True)
    return build_request(config).method


METHODS = {name: settings_of(name) for name in sorted(path.stem for path in (CONF / "method").glob("*.yaml"))}
TRAINED = [name for name, method in METHODS.items() if method.optimizer is not None]


def moved(name, folder, batch_size, pictures=16, **trainer_settings):
    """How far one epoch of plain gradient descent moves each parameter, and the number of steps."""
    method = METHODS[name].model_copy(update={"optimizer": ONE_STEP})
    stage, backbone = method.positive_stage(), shared_backbone()
    positive = None
    if stage is not None:
        context = stage.module(backbone, CLASSES, 1, None).contexts().positive
        layout = {"class_token_position": stage.class_token_position, "full_stop": stage.full_stop}
        names = {"train_class_names": list(CLASSES), "class_names_sha256": class_names_sha256(CLASSES)}
        positive = PromptBundle(context, None, {**layout, **names})
    module = method.module(backbone, CLASSES, 1, positive)
    trained = {key: value for key, value in module.named_parameters() if value.requires_grad}
    before = {key: value.detach().clone() for key, value in trained.items()}
    settings = QUIET.model_copy(update=trainer_settings)
    trainer = fit_trainer(settings, folder, {}, 1, lambda _: None)
    regions = 4 if "local" in method.looks_at else None
    trainer.fit(module, feature_data(num_samples=pictures, batch_size=batch_size, regions=regions))
    return {key: value.detach() - before[key] for key, value in trained.items()}, trainer.global_step


@pytest.mark.parametrize("name", TRAINED)
def test_two_batches_of_eight_are_one_of_sixteen(name, tmp_path):
    one, steps = moved(name, tmp_path / "one", 16)
    two, accumulated = moved(name, tmp_path / "two", 8, accumulate_grad_batches=2)
    assert steps == accumulated == 1
    for key, change in one.items():
        assert float(change.norm()) > 0
        assert float((two[key] - change).norm()) < 1e-3 * float(change.norm())


@pytest.mark.parametrize("name", TRAINED)
def test_a_gradient_is_clipped_to_the_length_that_was_set(name, tmp_path):
    free, _ = moved(name, tmp_path / "free", 16)
    length = torch.stack([change.norm() for change in free.values()]).norm() / RATE
    limit = float(length) / 4
    clipped, _ = moved(name, tmp_path / "clipped", 16, gradient_clip_val=limit)
    for key, change in clipped.items():
        assert torch.allclose(change, free[key] / 4, rtol=1e-2, atol=1e-3 * float(free[key].abs().max()))


def test_the_schedule_of_the_released_code_counts_steps_and_not_batches(tmp_path):
    recipe = OptimizerSettings(lr=0.1, epochs=8, schedule="official_code", momentum=0.0, weight_decay=0.0)
    settings = QUIET.model_copy(update={"accumulate_grad_batches": 2})
    module = METHODS["coop"].model_copy(update={"optimizer": recipe}).module(shared_backbone(), CLASSES, 1, None)
    rows = []
    trainer = fit_trainer(settings, tmp_path, {}, 8, lambda published: rows.extend(published[len(rows) :]))
    trainer.fit(module, feature_data(num_samples=20, batch_size=4))  # five batches: steps of two, two and one
    assert [row["step"] for row in rows] == [3 * epoch for epoch in range(1, 9)]
    assert [row["lr"] for row in rows] == pytest.approx([official_code(step, 3, recipe) for step in range(3, 25, 3)])
