"""Half precision, chunks of classes and accumulated gradients in the product's own training loop."""

from __future__ import annotations

import lightning
import pytest
import torch
from helpers import CLASS_NAMES, coop, feature_data, tiny_backbone, two_stage

from negprompt.errors import RunError
from negprompt.prompts.context import initial_context
from negprompt.training.schedule import OptimizerSettings
from negprompt.types import PromptBundle

NAMES = CLASS_NAMES[:4]
RECIPE = OptimizerSettings(lr=1e-3, epochs=2, batch_size=4, warmup_epochs=0)


def stage(method, chunk="none"):
    backbone = tiny_backbone()
    backbone.text_chunk = chunk
    if method == "coop":
        return coop(optimizer=RECIPE).module(backbone, NAMES, 0, None)
    layout = {"class_token_position": "end", "full_stop": False, "train_class_names": list(NAMES)}
    positive = PromptBundle(initial_context(backbone, 4, "words", "a photo of a", 0), None, layout)
    return two_stage(optimizer=RECIPE).module(backbone, NAMES, 0, positive)


def fit(module, tmp_path, precision="32-true", accumulate=1):
    trainer = lightning.Trainer(
        accelerator="cpu",
        precision=precision,
        accumulate_grad_batches=accumulate,
        max_epochs=2,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        default_root_dir=tmp_path,
    )
    trainer.fit(module, feature_data(num_samples=16, batch_size=4))
    (learned,) = [parameter.detach() for parameter in module.parameters() if parameter.requires_grad]
    return learned


def start(method):
    (parameter,) = [parameter.detach() for parameter in stage(method).parameters() if parameter.requires_grad]
    return parameter


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("method", ["coop", "negprompt"])
def test_chunks_learn_the_prompts_of_one_piece_also_with_accumulated_gradients(tmp_path, method, accumulate):
    whole, chunked = (fit(stage(method, chunk), tmp_path, accumulate=accumulate) for chunk in ("none", 1))
    assert float((whole - start(method)).abs().max()) > 1e-3
    assert float((whole - chunked).norm()) < 1e-4 * float((whole - start(method)).norm())


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("method", ["coop", "negprompt"])
def test_chunks_under_autocast_learn_the_prompts_of_one_piece_under_autocast(tmp_path, method, accumulate):
    whole, chunked = (fit(stage(method, chunk), tmp_path, "bf16-mixed", accumulate) for chunk in ("none", 2))
    assert float((whole - chunked).norm()) < 0.1 * float((whole - start(method)).norm())


@pytest.mark.parametrize("method", ["coop", "negprompt"])
def test_under_autocast_towers_run_in_half_precision_and_all_else_in_single(tmp_path, method):
    module, seen = stage(method), set()
    block = module.backbone.model.transformer.resblocks[0]
    block.mlp.c_fc.register_forward_hook(lambda *call: seen.add(call[2].dtype))
    terms = []
    original = module.loss

    def loss(images, labels):
        value, logged = original(images, labels)
        terms.append({value.dtype, *(term.dtype for term in logged.values())})
        return value, logged

    module.loss = loss
    learned = fit(module, tmp_path, "bf16-mixed")
    assert torch.bfloat16 in seen
    assert learned.dtype == torch.float32
    assert all(kinds == {torch.float32} for kinds in terms)


@pytest.mark.parametrize("method", ["coop", "negprompt"])
def test_half_precision_learns_about_the_same_prompts(tmp_path, method):
    single, half = (fit(stage(method), tmp_path, precision) for precision in ("32-true", "bf16-mixed"))
    assert 0 < float((single - half).norm()) < 0.3 * float((single - start(method)).norm())


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_stops_the_run_and_says_where(tmp_path, value):
    module = stage("coop")
    original = module.loss

    def loss(images, labels):
        result, logged = original(images, labels)
        return (result * value if module.global_step == 3 else result), logged

    module.loss = loss
    with pytest.raises(RunError, match=r"The loss became (nan|inf) at step 3.*checkpoint before this step is kept"):
        fit(module, tmp_path)
