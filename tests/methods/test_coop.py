"""Stage 1: the loss of Eq. 2, what it trains, and what it leaves alone."""

from __future__ import annotations

import lightning
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from helpers import CLASS_NAMES, coop, feature_data, shared_backbone

from negprompt.errors import RunError
from negprompt.methods.coop import CoOp
from negprompt.prompts.context import initial_context
from negprompt.prompts.encoder import PromptEncoder
from negprompt.prompts.template import PromptLayout
from negprompt.training.callbacks import Curves
from negprompt.training.schedule import OptimizerSettings

NAMES = CLASS_NAMES[:4]
RECIPE = OptimizerSettings(lr=2e-4, epochs=6, batch_size=4, warmup_epochs=0)


def module(seed=0, **settings) -> CoOp:
    return coop(**{"optimizer": RECIPE, **settings}).module(shared_backbone(), NAMES, seed, None)


def fit(module, tmp_path, epochs=6):
    rows = []
    curves = Curves(rows.extend)
    trainer = lightning.Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        callbacks=[curves],
        default_root_dir=tmp_path,
    )
    trainer.fit(module, feature_data(num_samples=16, batch_size=4))
    curves.published()
    return [row["train/loss"] for row in rows], trainer


def images(count=6, seed=3):
    return F.normalize(torch.randn(count, 16, generator=torch.Generator().manual_seed(seed)), dim=-1)


def test_the_loss_is_the_cross_entropy_of_the_scaled_cosines():
    stage = module()
    labels = torch.tensor([0, 1, 2, 3, 0, 1])
    text = stage.encoder(stage.backbone, stage.context)
    loss, terms = stage.loss(images(), labels)
    expected = F.cross_entropy(100.0 * images() @ text.T, labels)
    assert float(loss.detach()) == pytest.approx(float(expected.detach()), rel=1e-5)
    assert float(terms["accuracy"]) == float(((images() @ text.T).argmax(1) == labels).float().mean())


def test_the_length_of_image_features_has_no_say():
    stage = module()
    batch = {"image_features": 7 * images(), "label": torch.zeros(6, dtype=torch.long)}
    assert torch.allclose(stage.image_features(batch), images(), atol=1e-6)


def test_pixels_and_their_stored_features_are_the_same_batch():
    stage = module()
    pixels = torch.randn(3, 3, 32, 32)
    stored = stage.backbone.encode_image(pixels)
    assert torch.equal(stage.image_features({"image": pixels}), stage.image_features({"image_features": stored}))


def test_training_lowers_the_loss(tmp_path):
    losses, _ = fit(module(), tmp_path)
    assert losses[-1] < 0.7 * losses[0]


@pytest.mark.parametrize("class_specific", [False, True])
def test_the_context_changes_and_nothing_else(tmp_path, class_specific):
    stage = module(class_specific=class_specific)
    weights, context = stage.backbone.weights_sha256(), stage.context.detach().clone()
    fit(stage, tmp_path, epochs=2)
    assert [name for name, parameter in stage.named_parameters() if parameter.requires_grad] == ["context"]
    assert stage.backbone.weights_sha256() == weights
    assert bool((stage.context != context).all())
    assert not stage.context.isnan().any()


def test_checkpoints_hold_the_context_alone(tmp_path):
    stage = module()
    _, trainer = fit(stage, tmp_path, epochs=1)
    trainer.save_checkpoint(tmp_path / "some.ckpt")
    state = torch.load(tmp_path / "some.ckpt", weights_only=True)["state_dict"]
    assert list(state) == ["context"]
    assert (tmp_path / "some.ckpt").stat().st_size < 30_000


def test_the_module_returns_what_it_learned(tmp_path):
    stage = module()
    fit(stage, tmp_path, epochs=1)
    positive, negative = stage.contexts()
    assert torch.equal(positive, stage.context)
    assert not positive.requires_grad
    assert negative is None


def test_class_specific_contexts_train_their_own_class():
    stage = module(class_specific=True, num_context_tokens=3)
    assert stage.context.shape == (4, 3, 32)
    text = stage.encoder(stage.backbone, stage.context)
    (gradient,) = torch.autograd.grad(text[2].sum(), stage.context)
    assert [bool(one.any()) for one in gradient] == [False, False, True, False]


def test_a_shared_and_an_equal_class_specific_start_have_the_same_loss():
    labels = torch.tensor([0, 1, 2, 3, 0, 1])
    shared, specific = (module(class_specific=flag).loss(images(), labels)[0] for flag in (False, True))
    assert float(shared.detach()) == pytest.approx(float(specific.detach()), rel=1e-6)


@pytest.mark.parametrize("layout", [{"class_token_position": "middle"}, {"full_stop": True}, {"num_context_tokens": 2}])
def test_the_layout_of_the_settings_is_that_of_the_prompts(layout):
    stage = module(context_init="random", **layout)
    count = layout.get("num_context_tokens", 4)
    expected = PromptEncoder(
        stage.backbone,
        NAMES,
        PromptLayout(count, layout.get("class_token_position", "end"), layout.get("full_stop", False)),
    )
    context = initial_context(stage.backbone, count, "random", "", seed=0)
    assert torch.equal(stage.encoder(stage.backbone, stage.context), expected(stage.backbone, context))


def test_seeds_start_apart_where_the_start_is_noise():
    starts = {seed: module(seed, context_init="random").context for seed in (0, 1)}
    assert torch.equal(starts[0], module(0, context_init="random").context)
    assert not torch.equal(starts[0], starts[1])


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_stops_the_step_and_names_the_setting(bad):
    stage = module()
    batch = {"image_features": torch.full((2, 16), bad), "label": torch.zeros(2, dtype=torch.long)}
    with pytest.raises(RunError, match=r"The loss became nan at step 0: lower method\.optimizer\.lr"):
        stage.training_step(batch, 0)
