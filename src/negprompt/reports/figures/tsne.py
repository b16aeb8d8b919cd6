"""Fig. 4 of the paper: a map of the joint space with pictures and both kinds of prompts (t-SNE)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F  # noqa: N812 -- torch's own convention
from torch import Tensor

from negprompt.errors import RunError
from negprompt.reports.document import Plot
from negprompt.reports.figures.canvas import (
    BLUE,
    GREEN,
    ORANGE,
    PANEL,
    PURPLE,
    SKY,
    VERMILION,
    canvas,
    listed,
    plain,
    plot,
)
from negprompt.reports.figures.similarity import label
from negprompt.types import TextFeatures

POSITIVE, NEGATIVE = "positive prompts", "negative prompts"
_MISSING = "Fig. 4 needs scikit-learn: pip install 'negprompt[report]', or pip install scikit-learn."
_OOD_LOOKS = ((VERMILION, "s"), (ORANGE, "^"), (PURPLE, "D"), (SKY, "v"), ("#999999", "p"), ("#8c510a", "h"))


class Sample(NamedTuple):
    """What a map shows, and how it is made.

    `images_per_set`: pictures drawn of each test set. `num_classes`: classes drawn, whose prompts are shown.
    `perplexity`: of t-SNE, about the number of neighbours a point keeps. `seed`: of the draws and of the map.
    """

    images_per_set: int = 250
    num_classes: int = 100
    perplexity: float = 30.0
    seed: int = 0


class Points(NamedTuple):
    """Unit vectors (N, D) and what each is: a test set's name, or one of the kinds of prompts."""

    vectors: Tensor
    kinds: tuple[str, ...]


def points(text: TextFeatures, images: Mapping[str, Tensor], sample: Sample) -> Points:
    """Draw the vectors of a map: pictures set by set, then positive and negative prompts of the same classes.

    Args:
        text: unit text features of K classes.
        images: features (N, D) by test set, not normalised; only the rows that are drawn are read.
        sample: how many of them.
    """
    generator = torch.Generator().manual_seed(sample.seed)
    vectors, kinds = [], []
    for name, features in images.items():
        rows = _drawn(len(features), sample.images_per_set, generator)
        vectors.append(F.normalize(features[rows].float(), dim=-1))
        kinds += [name] * len(rows)
    classes = _drawn(len(text.positive), sample.num_classes, generator)
    vectors.append(text.positive[classes].cpu())
    kinds += [POSITIVE] * len(classes)
    if text.negative is not None:
        vectors.append(text.negative[classes].flatten(0, 1).cpu())
        kinds += [NEGATIVE] * len(vectors[-1])
    return Points(torch.cat(vectors), tuple(kinds))


def embedded(vectors: Tensor, sample: Sample) -> npt.NDArray[np.float32]:
    """Places (N, 2) of unit vectors (N, D) on a t-SNE map under the cosine metric; the same seed gives the same map.

    Raises:
        RunError: scikit-learn is missing, or there are too few points for the perplexity.
    """
    try:
        from sklearn.manifold import TSNE
    except ImportError as error:
        raise RunError(_MISSING) from error
    if len(vectors) <= sample.perplexity:
        msg = f"t-SNE of {len(vectors)} points cannot have a perplexity of {sample.perplexity:g}: lower it."
        raise RunError(msg)
    settings = {"metric": "cosine", "init": "pca", "random_state": sample.seed, "perplexity": sample.perplexity}
    places: npt.NDArray[np.float32] = TSNE(**settings).fit_transform(vectors.numpy())
    return places


def tsne_plot(text: TextFeatures, images: Mapping[str, Tensor], sample: Sample, *, key: str, title: str) -> Plot:
    """Draw a map of pictures and prompts.

    Args:
        text: unit text features of K classes.
        images: features (N, D) by test set (`Split.test_sets`), not normalised.
        sample: how much of them, and the seed.
        key: name of its files.
        title: for example method and benchmark.

    Raises:
        RunError: scikit-learn is missing, or there are too few points for the perplexity.
    """
    shown = points(text, images, sample)
    places, kinds = embedded(shown.vectors, sample), np.array(shown.kinds)
    figure = canvas(7.4, width=9.6)
    panel = figure.subplots()
    others = iter(_OOD_LOOKS * len(images))
    for kind in dict.fromkeys(shown.kinds):
        of_kind = places[kinds == kind]
        text_of, look = label(kind), {"linewidth": 0.4, "edgecolor": "white", "s": 26, "alpha": 0.85}
        if kind in (POSITIVE, NEGATIVE):
            marker, color = ("P", GREEN) if kind == POSITIVE else ("X", "black")
            look = {"linewidth": 0.7, "edgecolor": "white", "s": 90, "zorder": 3}
            text_of = kind
        else:
            color, marker = (BLUE, "o") if kind == "id" else next(others)
            look["zorder"] = 2.5 if kind == "id" else 2  # there are more OOD pictures, which would cover them
        panel.scatter(of_kind[:, 0], of_kind[:, 1], c=color, marker=marker, label=plain(text_of), **look)
    panel.set(xticks=[], yticks=[])
    panel.spines[:].set_color("#bbbbbb")
    figure.legend(loc="outside right upper", fontsize=PANEL, frameon=False, markerscale=1.3)
    counts = {kind: shown.kinds.count(kind) for kind in dict.fromkeys(shown.kinds)}
    said = listed(
        [f"{count} {kind if kind in (POSITIVE, NEGATIVE) else label(kind)}" for kind, count in counts.items()]
    )
    return plot(
        figure,
        key=key,
        title=title,
        caption=(
            f"t-SNE (cosine metric, perplexity {sample.perplexity:g}, seed {sample.seed}) of unit features. Only "
            "neighbourhoods mean something on such a map: neither distances between groups nor the axes do. A CLIP "
            "that keeps texts and pictures apart has its prompts in groups of their own."
        ),
        description=f"A map of {len(kinds)} points: {said}. {_neighbours(shown)}",
    )


def _neighbours(shown: Points) -> str:
    """What the map cannot be asked in words, counted in the space itself."""
    kinds, parts = np.array(shown.kinds), []
    prompts = {kind: shown.vectors[torch.from_numpy(kinds == kind)] for kind in (POSITIVE, NEGATIVE) if kind in kinds}
    if len(prompts) < 2:
        return "The run has no negative prompts."
    for name in dict.fromkeys(shown.kinds):
        if name not in prompts:
            images = shown.vectors[torch.from_numpy(kinds == name)]
            positive, negative = ((images @ one.T).amax(1) for one in prompts.values())
            parts.append(f"{label(name)} {100 * float((negative > positive).double().mean()):.0f} %")
    return f"Pictures nearer to a negative than to any positive prompt shown here: {', '.join(parts)}."


def _drawn(count: int, wanted: int, generator: torch.Generator) -> Tensor:
    """Rows that are drawn without replacement, in order; all where there are not more."""
    return torch.randperm(count, generator=generator)[:wanted].sort().values
