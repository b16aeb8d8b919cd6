"""Stage 2: Eq. 7 on frozen positives, one negative or many, shared or class-specific, and a collapse that is seen."""

from __future__ import annotations

import logging

import lightning
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from helpers import CLASS_NAMES, coop, feature_data, shared_backbone, two_stage
from pydantic import ValidationError

from negprompt.errors import ConfigError, PromptMismatchError
from negprompt.methods.negprompt import NegPrompt
from negprompt.objectives.negprompt import nis_floor
from negprompt.prompts.context import initial_context
from negprompt.training.callbacks import Curves
from negprompt.training.schedule import OptimizerSettings
from negprompt.types import PromptBundle

NAMES = CLASS_NAMES[:4]
RECIPE = OptimizerSettings(lr=1e-3, epochs=4, batch_size=4, warmup_epochs=0)


def positive(class_specific=False, n=4, **metadata):
    context = initial_context(shared_backbone(), n, "auto", "a photo of a", 0, len(NAMES) if class_specific else None)
    layout = {"class_token_position": "end", "full_stop": False, "train_class_names": list(NAMES)}
    return PromptBundle(context, None, {**layout, **metadata})


def module(class_specific=False, names=NAMES, bundle=None, **settings) -> NegPrompt:
    method = two_stage(**{"optimizer": RECIPE, "class_specific": class_specific, **settings})
    return method.module(shared_backbone(), names, 0, bundle or positive(class_specific))


def fit(stage, tmp_path, epochs=4):
    rows = []
    curves = Curves(rows.extend)
    trainer = lightning.Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        callbacks=[curves],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        default_root_dir=tmp_path,
    )
    trainer.fit(stage, feature_data(num_samples=16, batch_size=4))
    curves.published()
    return rows[-1]


def images(count=6, seed=3):
    return F.normalize(torch.randn(count, 16, generator=torch.Generator().manual_seed(seed)), dim=-1)


LABELS = torch.tensor([0, 1, 2, 3, 0, 1])


# --- the loss ------------------------------------------------------------------------------------------------------


def test_the_papers_loss_is_eq_4_to_7_written_out():
    stage = module(nis="negatives_uniform", npd_weight=0.1, nnd_weight=0.05)
    negative = stage.encoder.encode_negative(stage.backbone, stage.negative_context).detach()
    logits = 100.0 * torch.einsum("bd,kpd->bkp", images(), negative).flatten(1)
    nis = -(torch.log_softmax(logits, dim=1) / 8).sum(dim=1).mean()
    npd = -sum(float(negative[k, p] @ stage.positive_text[k]) for k in range(4) for p in range(2)) / 8
    nnd = sum(float(negative[k, 0] @ negative[k, 1]) for k in range(4)) / 4
    loss, terms = stage.loss(images(), LABELS)
    assert float(terms["nis"]) == pytest.approx(float(nis), rel=1e-5)
    assert float(terms["npd"]) == pytest.approx(npd, rel=1e-5)
    assert float(terms["nnd"]) == pytest.approx(nnd, rel=1e-5)
    assert float(loss.detach()) == pytest.approx(float(nis) + 0.1 * npd + 0.05 * nnd, rel=1e-5)


def test_what_is_logged_shows_a_collapse():
    stage = module(nis="negatives_uniform")
    negative = stage.encoder.encode_negative(stage.backbone, stage.negative_context).detach()
    _, terms = stage.loss(images(), LABELS)
    cosines = torch.einsum("bd,kpd->bkp", images(), negative)
    across = [
        float(negative[i, p] @ negative[j, q])
        for i in range(4)
        for j in range(4)
        for p in (0, 1)
        for q in (0, 1)
        if i != j
    ]
    assert float(terms["nis_above_floor"]) == pytest.approx(float(terms["nis"]) - nis_floor(4, 2), abs=1e-5)
    assert float(terms["similarity_negative"]) == pytest.approx(float(cosines.flatten(1).amax(1).mean()), rel=1e-5)
    assert float(terms["similarity_positive"]) == pytest.approx(
        float((images() @ stage.positive_text.T).amax(1).mean()), rel=1e-5
    )
    assert float(terms["negatives_across_classes"]) == pytest.approx(sum(across) / len(across), rel=1e-5)


FORMS = [
    {"nis": "negatives_uniform"},
    {"nis": "joint_uniform"},
    {"nis": "multilabel_margin", "npd": "repel", "nnd": "mean_norm"},
]


@pytest.mark.parametrize("forms", FORMS, ids=lambda forms: forms["nis"])
def test_training_lowers_the_loss_in_every_form(tmp_path, forms):
    first = fit(module(**forms), tmp_path, epochs=1)["train/loss"]
    last = fit(module(**forms), tmp_path, epochs=4)["train/loss"]
    assert last < 0.95 * first


# --- what is trained -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("class_specific", [False, True])
@pytest.mark.parametrize("num_negatives", [1, 2, 3])
def test_the_negatives_change_and_nothing_else(tmp_path, class_specific, num_negatives):
    stage = module(class_specific, num_negatives=num_negatives)
    before = {name: tensor.clone() for name, tensor in stage.named_buffers() if "backbone" not in name}
    start, weights = stage.negative_context.detach().clone(), stage.backbone.weights_sha256()
    fit(stage, tmp_path, epochs=2)
    assert [name for name, parameter in stage.named_parameters() if parameter.requires_grad] == ["negative_context"]
    assert stage.backbone.weights_sha256() == weights
    assert all(torch.equal(tensor, before[name]) for name, tensor in stage.named_buffers() if "backbone" not in name)
    assert bool(torch.isfinite(stage.negative_context).all())
    assert bool((stage.negative_context != start).any(dim=-1).all())
    assert start.shape == ((4,) if class_specific else ()) + (num_negatives, 4, 32)


def test_the_positive_comes_out_as_it_came_in(tmp_path):
    bundle = positive()
    given = bundle.positive.clone()
    stage = module(bundle=bundle)
    fit(stage, tmp_path, epochs=2)
    assert torch.equal(stage.contexts().positive, given)
    assert torch.equal(bundle.positive, given)


def test_checkpoints_hold_both_contexts_and_no_backbone():
    assert set(module().state_dict()) == {"negative_context", "positive_context"}


def test_negatives_that_start_almost_equal_move_apart(tmp_path):
    stage = module(negative_noise=1e-5, nnd_weight=1.0)

    def cosine():
        with torch.no_grad():
            first, second = stage.encoder.encode_negative(stage.backbone, stage.negative_context).unbind(1)
        return float((first.double() * second.double()).sum(-1).mean())

    before = cosine()
    fit(stage, tmp_path, epochs=4)
    assert before > 1 - 1e-5
    assert cosine() < before - 1e-4


def test_one_negative_has_no_partner_and_a_gradient_all_the_same():
    stage = module(num_negatives=1)
    loss, terms = stage.loss(images(), LABELS)
    loss.backward()
    assert float(terms["nnd"]) == 0.0
    assert bool(torch.isfinite(stage.negative_context.grad).all())
    assert float(stage.negative_context.grad.abs().max()) > 0


@pytest.mark.parametrize("num_negatives", [1, 2])
def test_one_class_is_enough(num_negatives):
    stage = module(names=NAMES[:1], num_negatives=num_negatives)
    loss, _ = stage.loss(images(), torch.zeros(6, dtype=torch.long))
    loss.backward()
    assert bool(torch.isfinite(stage.negative_context.grad).all())


# --- warnings ------------------------------------------------------------------------------------------------------


def warnings_of(stage, caplog):
    with caplog.at_level(logging.WARNING, logger="negprompt.methods"):
        stage.on_train_end()
    return [record.getMessage() for record in caplog.records]


def with_negatives(*rows, names=NAMES):
    """A module whose negatives have the given features (K, P, D)."""
    stage = module(names=names, num_negatives=len(rows[0]))
    features = F.normalize(torch.tensor(rows), dim=-1)
    stage.encoder.encode_negative = lambda *_: features
    return stage


EAST, NORTH, UP = [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]


def test_negatives_of_all_classes_in_one_direction_are_a_collapse(caplog):
    first, second = warnings_of(with_negatives([EAST, EAST], [EAST, EAST]), caplog)
    assert first.startswith("The negative prompts collapsed")
    assert "mean cosine 1.000" in first
    assert "method.nis=multilabel_margin" in first
    assert second.startswith("The 2 negatives of a class are still one prompt")


def test_negatives_that_never_parted_are_named_even_where_the_classes_differ(caplog):
    (message,) = warnings_of(with_negatives([EAST, EAST], [NORTH, NORTH], [UP, UP]), caplog)
    assert message.startswith("The 2 negatives of a class are still one prompt (mean cosine 1.000)")
    assert "method.negative_noise" in message


def test_healthy_negatives_draw_no_warning(caplog):
    assert warnings_of(with_negatives([EAST, NORTH], [NORTH, UP]), caplog) == []


def test_one_negative_a_class_draws_no_warning(caplog):
    assert warnings_of(with_negatives([EAST], [NORTH]), caplog) == []


def test_a_single_class_draws_no_warning(caplog):
    assert warnings_of(with_negatives([EAST, NORTH], names=NAMES[:1]), caplog) == []


def test_a_fit_that_collapses_says_so(tmp_path, caplog):
    stage = module(negative_init="positive_uniform", negative_noise=1e-7, nnd_weight=0.0)
    with caplog.at_level(logging.WARNING, logger="negprompt.methods"):
        fit(stage, tmp_path, epochs=1)
    assert any("still one prompt" in record.getMessage() for record in caplog.records)


# --- refusals ------------------------------------------------------------------------------------------------------


def test_stage_2_without_stage_1_names_the_setting():
    with pytest.raises(PromptMismatchError, match=r"set method\.positive_prompts"):
        two_stage().module(shared_backbone(), NAMES, 0, None)


@pytest.mark.parametrize(
    "stored", [{"class_token_position": "front"}, {"full_stop": True}], ids=["position", "full stop"]
)
def test_positive_prompts_of_another_layout_are_refused(stored):
    with pytest.raises(PromptMismatchError, match="The positive prompts have"):
        module(bundle=positive(**stored))


@pytest.mark.parametrize("asked", [True, False])
def test_shared_and_class_specific_prompts_are_not_mixed(asked):
    with pytest.raises(PromptMismatchError, match=rf"method\.class_specific={str(not asked).lower()}"):
        module(asked, bundle=positive(not asked))


def test_class_specific_prompts_of_other_classes_are_refused():
    with pytest.raises(
        PromptMismatchError, match="belong to 4 classes, one context each, and not to the 4 of this run"
    ):
        module(class_specific=True, bundle=positive(True, train_class_names=["a", "b", "c", "d"]))


@pytest.mark.parametrize("setting", [{"num_context_tokens": 2}, {"class_specific": True}, {"full_stop": True}])
def test_both_stages_share_one_layout(setting):
    with pytest.raises(ConfigError, match="Both stages share one prompt layout"):
        two_stage(positive=coop(**setting))


@pytest.mark.parametrize(
    "setting",
    [
        {"num_negatives": 0},
        {"negative_noise": 0.0},
        {"nnd_weight": -1.0},
        {"nis": "uniform"},
        {"num_context_tokens": 0},
        {"num_negatives": 2.0},
        {"learning_rate": 1.0},
    ],
    ids=lambda setting: next(iter(setting)),
)
def test_values_that_make_no_sense_are_refused_before_anything_runs(setting):
    with pytest.raises(ValidationError, match=next(iter(setting))):
        two_stage(positive=coop(), **setting)
