"""One stage: the sum of its parts, and which context each part moves."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from helpers import CLASS_NAMES, coop, shared_backbone, two_stage

from negprompt.methods.one_stage import OneStageSettings
from negprompt.objectives.one_stage import joint_loss
from negprompt.types import PromptBundle, Similarity

NAMES = CLASS_NAMES[:4]
LABELS = torch.tensor([0, 1, 2, 3, 0, 1])
FORMS = {"nis": "negatives_uniform", "npd_weight": 0.1, "nnd_weight": 0.05, "negative_noise": 0.02}


def images(count=6):
    return F.normalize(torch.randn(count, 16, generator=torch.Generator().manual_seed(3)), dim=-1)


def one_stage(**changes):
    settings = OneStageSettings(**{"name": "one_stage", "optimizer": coop().optimizer, **FORMS, **changes})
    return settings.module(shared_backbone(), NAMES, 0, None)


def parts(num_negatives, class_specific):
    """CoOp and stage 2 at the same contexts."""
    positive = coop(class_specific=class_specific).module(shared_backbone(), NAMES, 0, None)
    layout = {"class_token_position": "end", "full_stop": False, "train_class_names": list(NAMES)}
    bundle = PromptBundle(positive.context.detach(), None, layout)
    stage2 = two_stage(**FORMS, class_specific=class_specific, num_negatives=num_negatives)
    return positive, stage2.module(shared_backbone(), NAMES, 0, bundle)


@pytest.mark.parametrize("class_specific", [False, True])
@pytest.mark.parametrize("num_negatives", [1, 2, 5])
def test_with_detached_anchors_it_is_coop_and_stage_2_side_by_side(num_negatives, class_specific):
    whole = one_stage(num_negatives=num_negatives, class_specific=class_specific, npd_detached=True)
    positive, negative = parts(num_negatives, class_specific=class_specific)
    losses = [stage.loss(images(), LABELS)[0] for stage in (whole, positive, negative)]
    torch.testing.assert_close(losses[0], losses[1] + losses[2])
    for loss in losses:
        loss.backward()
    torch.testing.assert_close(whole.positive_context.grad, positive.context.grad)
    torch.testing.assert_close(whole.negative_context.grad, negative.negative_context.grad)


def test_npd_moves_the_positives_too_unless_told_otherwise():
    gradients = []
    for detached in (False, True):
        stage = one_stage(npd_detached=detached, npd_weight=10.0)
        stage.loss(images(), LABELS)[0].backward()
        gradients.append(stage.positive_context.grad)
    assert not torch.allclose(*gradients)


def test_joint_rivals_are_eq_3():
    cosines = Similarity(torch.rand(6, 4), torch.rand(6, 4, 2))
    logits = 100 * torch.cat([cosines.positive, cosines.negative.flatten(1)], dim=1)
    expected = -torch.log_softmax(logits, dim=1)[torch.arange(6), LABELS].mean()
    torch.testing.assert_close(joint_loss(cosines, LABELS, 100.0), expected)
    far = cosines._replace(negative=torch.full((6, 4, 2), -10.0))
    torch.testing.assert_close(joint_loss(far, LABELS, 100.0), F.cross_entropy(100 * cosines.positive, LABELS))
    (joint, _), (alone, _) = (one_stage(positive_rivals=name).loss(images(), LABELS) for name in ("joint", "positives"))
    assert joint > alone
