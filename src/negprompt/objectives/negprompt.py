"""The losses of stage 2 (Li et al., "Learning Transferable Negative Prompts for OOD Detection", Eq. 4-7).

Axes: B images, K classes, P negative prompts a class, D embedding width. Three terms:
    * NIS, negative-image similarity: what images of the training classes do to the negatives;
    * NPD, negative-positive distance: where a negative lies from the positive of its class;
    * NND, negative-negative distance: how the negatives of one class spread.

Each has the paper's form and the form of the released code, chosen by name. All are pure and compute in float32.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeVar

import torch
import torch.nn.functional as F  # noqa: N812  (the field's name)
from torch import Tensor

from negprompt.errors import ConfigError, nearest
from negprompt.objectives.products import NO_LENGTH, TextProducts
from negprompt.types import Similarity

Form = TypeVar("Form")


class LossTerms(NamedTuple):
    """The three terms of Eq. 7, unweighted float32 scalars."""

    nis: Tensor
    npd: Tensor
    nnd: Tensor


def negatives_uniform(similarity: Similarity, labels: Tensor, logit_scale: float | Tensor) -> Tensor:  # noqa: ARG001
    """Eq. 4: cross entropy between uniform and the softmax over all K * P negative logits.

    It flattens the profile of the negatives on ID images and ignores their level: adding a constant to all
    negative logits changes nothing. The minimum is `nis_floor(K, P)`.

    Args:
        similarity: cosines; only `negative` (B, K, P) is read.
        labels: not read; every form of NIS takes them.
        logit_scale: what the cosines are multiplied by (about 100 for CLIP).

    Returns:
        Mean over the batch, a float32 scalar >= log(K * P).

    Raises:
        ConfigError: if the similarity holds no negatives.

    Example:
        >>> cosines = Similarity(torch.zeros(1, 2), torch.full((1, 2, 3), 0.2))
        >>> negatives_uniform(cosines, torch.tensor([0]), 100.0)  # log 6
        tensor(1.7918)
    """
    return _uniform_cross_entropy(logit_scale * _negative(similarity).flatten(start_dim=1))


def joint_uniform(similarity: Similarity, labels: Tensor, logit_scale: float | Tensor) -> Tensor:  # noqa: ARG001
    """The released code's `OE` form: as Eq. 4, with the K positive logits in the softmax as well.

    Where the true positive dominates, this pulls all negatives towards the ID image: the opposite of the aim.

    Args:
        similarity: cosines to positives (B, K) and negatives (B, K, P).
        labels: not read; every form of NIS takes them.
        logit_scale: what the cosines are multiplied by (about 100 for CLIP).

    Returns:
        Mean over the batch, a float32 scalar >= log(K * (1 + P)).

    Raises:
        ConfigError: if the similarity holds no negatives.

    Example:
        >>> cosines = Similarity(torch.full((1, 2), 0.2), torch.full((1, 2, 3), 0.2))
        >>> joint_uniform(cosines, torch.tensor([0]), 100.0)  # log 8
        tensor(2.0794)
    """
    return _uniform_cross_entropy(logit_scale * _joint(similarity).flatten(start_dim=1))


def multilabel_margin(similarity: Similarity, labels: Tensor, logit_scale: float | Tensor) -> Tensor:
    """The released code's `MSP` form: multi-label soft margin over all K * (1 + P) logits.

    The targets are 1 for the positive and all negatives of the true class, 0 elsewhere: the negatives of the
    other classes are pushed down in absolute terms.

    Args:
        similarity: cosines to positives (B, K) and negatives (B, K, P).
        labels: class of each image (B,), int64 in [0, K).
        logit_scale: what the cosines are multiplied by (about 100 for CLIP).

    Returns:
        Mean over images and entries, a float32 scalar >= 0.

    Raises:
        ConfigError: if the similarity holds no negatives.

    Example:
        >>> cosines = Similarity(torch.tensor([[0.2, -0.2]]), torch.tensor([[[0.2], [-0.2]]]))
        >>> multilabel_margin(cosines, torch.tensor([0]), 10.0)  # log(1 + exp(-2))
        tensor(0.1269)
    """
    logits = logit_scale * _joint(similarity)
    targets = F.one_hot(labels, num_classes=logits.shape[1]).unsqueeze(dim=2).expand_as(logits)
    return F.binary_cross_entropy_with_logits(logits, targets.to(logits.dtype))


def nis_floor(num_classes: int, num_negatives: int) -> float:
    """Smallest value of `negatives_uniform`, reached when all negative logits are equal: log(K * P).

    Example:
        >>> round(nis_floor(72, 2), 3)
        4.97
    """
    return math.log(num_classes * num_negatives)


def npd_attract(text: TextProducts) -> Tensor:
    """Eq. 5: minus the mean cosine of each negative to the positive of its class; pulls them together.

    Args:
        text: products of text features.

    Returns:
        A float32 scalar in [-1, 1]; -1 when every negative points along its positive.

    Example:
        >>> from negprompt.objectives.products import text_products
        >>> npd_attract(text_products(torch.tensor([[1.0, 0.0]]), torch.tensor([[[2.0, 0.0], [0.0, 1.0]]])))
        tensor(-0.5000)
    """
    return -text.positive_cosines().mean()


def npd_repel(text: TextProducts) -> Tensor:
    """The released code's `MSP` form, minus the mean of (1 - cosine) = -1 - Eq. 5; pushes them apart.

    Args:
        text: products of text features.

    Returns:
        A float32 scalar in [-2, 0]; 0 when every negative points along its positive.

    Example:
        >>> from negprompt.objectives.products import text_products
        >>> npd_repel(text_products(torch.tensor([[1.0, 0.0]]), torch.tensor([[[2.0, 0.0], [0.0, 1.0]]])))
        tensor(-0.5000)
    """
    return -1 - npd_attract(text)


def nnd_pairwise(text: TextProducts) -> Tensor:
    """Eq. 6: mean cosine between two different negatives of one class; pushes them apart.

    With one negative a class the formula is 0/0; here it is 0 with gradient exactly 0.

    Args:
        text: products of text features.

    Returns:
        A float32 scalar in [-1/(P - 1), 1]; 1 when the negatives of each class are equal.

    Example:
        >>> from negprompt.objectives.products import text_products
        >>> nnd_pairwise(text_products(torch.tensor([[1.0, 0.0]]), torch.tensor([[[1.0, 0.0], [0.6, 0.8]]])))
        tensor(0.6000)
    """
    cosines = text.negative_cosines()
    count = cosines.shape[1]
    pairs = cosines.sum(dim=(1, 2)) - cosines.diagonal(dim1=1, dim2=2).sum(dim=1)  # without i = l
    return pairs.mean() / (count * max(count - 1, 1))


def nnd_mean_norm(text: TextProducts) -> Tensor:
    """The released code's form: length of the mean unit negative of a class, minus 1, averaged over the classes.

    For each class, length^2 = 1/P + (P - 1)/P * (its pairwise mean of Eq. 6). With one negative a class it is 0
    with gradient exactly 0.

    Args:
        text: products of text features.

    Returns:
        A float32 scalar in [-1, 0]; 0 when the negatives of each class are equal.

    Example:
        >>> from negprompt.objectives.products import text_products
        >>> unit = torch.eye(2).unsqueeze(0)
        >>> nnd_mean_norm(text_products(unit[:, 0], unit))  # sqrt(1/2) - 1
        tensor(-0.2929)
    """
    cosines = text.negative_cosines()
    count = cosines.shape[1]
    if count == 1:
        return 0.0 * cosines.sum()  # keeps the graph: a constant would fail in backward
    squared = cosines.sum(dim=(1, 2)).clamp_min(NO_LENGTH)  # of the sum of the unit negatives
    return (squared.sqrt() / count - 1).mean()


NIS_FORMS: Mapping[str, Callable[[Similarity, Tensor, float | Tensor], Tensor]] = {
    "negatives_uniform": negatives_uniform,
    "joint_uniform": joint_uniform,
    "multilabel_margin": multilabel_margin,
}
NPD_FORMS: Mapping[str, Callable[[TextProducts], Tensor]] = {"attract": npd_attract, "repel": npd_repel}
NND_FORMS: Mapping[str, Callable[[TextProducts], Tensor]] = {"pairwise": nnd_pairwise, "mean_norm": nnd_mean_norm}


def choose_form(option: str, name: str, forms: Mapping[str, Form]) -> Form:
    """Look up one form of a loss term by name, for a constructor that wants to fail early.

    Args:
        option: the setting the name came from, for the message ("method.nis").
        name: what the user asked for.
        forms: `NIS_FORMS`, `NPD_FORMS` or `NND_FORMS`.

    Raises:
        ConfigError: if no form has that name.
    """
    if name not in forms:
        message = f"{option}='{name}' is unknown; {nearest(name, forms)}"
        raise ConfigError(message)
    return forms[name]


def negprompt_terms(
    similarity: Similarity,
    labels: Tensor,
    text: TextProducts,
    logit_scale: float | Tensor,
    *,
    nis: str = "negatives_uniform",
    npd: str = "attract",
    nnd: str = "pairwise",
) -> LossTerms:
    """Compute the three terms of stage 2; the defaults are the paper's Eq. 4-6.

    Args:
        similarity: cosines to positives (B, K) and negatives (B, K, P).
        labels: class of each image (B,); only `multilabel_margin` reads them.
        text: products of the text features of positive and negative prompts.
        logit_scale: what the cosines are multiplied by in NIS (about 100 for CLIP).
        nis: a name in `NIS_FORMS`.
        npd: a name in `NPD_FORMS`.
        nnd: a name in `NND_FORMS`.

    Raises:
        ConfigError: if a form is unknown or there are no negatives.
    """
    return LossTerms(
        nis=choose_form("method.nis", nis, NIS_FORMS)(similarity, labels, logit_scale),
        npd=choose_form("method.npd", npd, NPD_FORMS)(text),
        nnd=choose_form("method.nnd", nnd, NND_FORMS)(text),
    )


def total_loss(terms: LossTerms, *, npd_weight: float = 0.1, nnd_weight: float = 0.05) -> Tensor:
    """Eq. 7: NIS + beta NPD + gamma NND; the defaults are the paper's beta and gamma.

    Example:
        >>> total_loss(LossTerms(torch.tensor(5.0), torch.tensor(-1.0), torch.tensor(1.0)))
        tensor(4.9500)
    """
    return terms.nis + npd_weight * terms.npd + nnd_weight * terms.nnd


def _uniform_cross_entropy(logits: Tensor) -> Tensor:
    """Mean over the batch of H(uniform, softmax) = logsumexp - mean, for logits (B, N)."""
    return (torch.logsumexp(logits, dim=1) - logits.mean(dim=1)).mean()


def _negative(similarity: Similarity) -> Tensor:
    if similarity.negative is None or similarity.negative.shape[2] == 0:
        message = "The NIS loss needs negative prompts and the similarity holds none: set method.num_negatives >= 1."
        raise ConfigError(message)
    return similarity.negative.float()


def _joint(similarity: Similarity) -> Tensor:
    """Class-major cosines (B, K, 1 + P), column 0 is the positive."""
    return torch.cat([similarity.positive.float().unsqueeze(dim=2), _negative(similarity)], dim=2)
