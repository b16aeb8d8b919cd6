"""The few types that cross a package border, and the conventions every formula relies on.

Axes: B images, K in-distribution (ID) classes, P negative prompts a class, D joint embedding width,
d token embedding width, n context tokens, R image regions.

Conventions, fixed once:
    * a higher score means more in-distribution; ID is the positive class of every metric;
    * the label of an out-of-distribution (OOD) image is -1;
    * cosines are never scaled: the temperature belongs to the score, the logit scale to the loss.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple, TypedDict

from torch import Tensor

OOD_LABEL = -1
NO_SLOT = -1


class ImageSpec(NamedTuple):
    """How a backbone wants its pictures: side length in pixels, channel mean and std in [0, 1] units, interpolation."""

    size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: str = "bicubic"


class SampleIndex(NamedTuple):
    """Row of a picture in its data set and the epoch it is drawn in: all that augmentation may depend on."""

    row: int
    epoch: int


class Batch(TypedDict, total=False):
    """What a loader yields: pixels or ready image features, never both.

    `image` (B, 3, H, W) float32, normalised; `image_features` (B, D) float32, *not* normalised;
    `local_features` (B, R, D) float32, *not* normalised, where the method or a score looks at regions;
    `label` (B,) int64, -1 = OOD; `index` (B,) int64, position in the data set.
    """

    image: Tensor
    image_features: Tensor
    local_features: Tensor
    label: Tensor
    index: Tensor


class Similarity(NamedTuple):
    """Cosines between images and prompts, never scaled.

    `positive` (B, K); `negative` (B, K, P) or None for a run without negative prompts; `local` (B, R, K) of the R
    regions of each image to the positive prompts, or None where nobody asked.
    """

    positive: Tensor
    negative: Tensor | None = None
    local: Tensor | None = None


class Pixels(NamedTuple):
    """Pictures that a score may change (ODIN).

    `values` (B, 3, H, W) normalised; `std` (3,) of the normalisation; `similarity` sees pixels as the run does, with
    a gradient.
    """

    values: Tensor
    std: tuple[float, float, float]
    similarity: Callable[[Tensor], Similarity]


class ScoreInputs(NamedTuple):
    """Everything a score may look at; what is None by default has to be asked for (`scores.base.score`).

    `similarity`: cosines; `logit_scale`: CLIP's, exp of the learned log, about 100; `image_features` (B, D), *not*
    normalised; `text_features` (K, D) of the positive prompts, unit length; `pixels`: the pictures themselves;
    `fitted`: what the score's own `fit` made of the training pictures; `candidates` (B, C): cosines to prompts of names
    that were proposed for some picture of the batch, -inf where a name was not proposed for this one.
    """

    similarity: Similarity
    logit_scale: float
    image_features: Tensor | None = None
    text_features: Tensor | None = None
    pixels: Pixels | None = None
    fitted: Tensor | None = None
    candidates: Tensor | None = None


class TextFeatures(NamedTuple):
    """Prompts of K classes as unit vectors: `positive` (K, D), `negative` (K, P, D) or None."""

    positive: Tensor
    negative: Tensor | None = None


class NearestPrompts(NamedTuple):
    """Of each of N pictures: its largest cosine to a prompt of either kind, and the class of that prompt.

    `positive` (N,) float32, `positive_class` (N,) int64; `negative` and `negative_class` are None for a run without
    negative prompts.
    """

    positive: Tensor
    positive_class: Tensor
    negative: Tensor | None = None
    negative_class: Tensor | None = None


class PromptTokens(NamedTuple):
    """Token sequences of K class names.

    `tokens` (K, L) ids, 0 after the end token; `slots` (K, L): index of the context vector that stands there, -1 for
    a token; `end_positions` (K,): index of the end token. L is that of the longest prompt.
    """

    tokens: Tensor
    slots: Tensor
    end_positions: Tensor

    def rows(self, rows: Tensor) -> PromptTokens:
        """The prompts of some of the names."""
        return PromptTokens(self.tokens[rows], self.slots[rows], self.end_positions[rows])


class PromptBundle(NamedTuple):
    """Learned (or hand-written) context vectors and what they belong to.

    `positive` (n, d) shared or (K, n, d) class-specific; `negative` (P, n, d), (K, P, n, d) or None;
    `metadata` JSON values: backbone, weights_sha256, method, class_names_sha256, seed, stage-1 run, prompt layout.
    """

    positive: Tensor
    negative: Tensor | None
    metadata: Mapping[str, Any]


class ImageSet(NamedTuple):
    """A list of encoded pictures with labels: `keys` name them, `encoded` holds the file bytes, `labels` the class.

    `dropped`: pictures that were left out because they cannot be decoded (`data.corrupt=skip`).
    """

    name: str
    keys: Sequence[str]
    encoded: Sequence[bytes]
    labels: Sequence[int]
    dropped: int = 0


class Split(NamedTuple):
    """One benchmark, ready to train and test on.

    `class_names` in label order; `train` holds few-shot pictures of the first `num_train_classes` classes only;
    `ood` maps a set's name to its pictures; `sha256` is a hash of all pictures (names, labels, content). `shifted` are
    covariate-shifted ID sets (full-spectrum protocol); `groups` names means over some of the OOD sets (near, far).
    """

    name: str
    class_names: tuple[str, ...]
    num_train_classes: int
    train: ImageSet
    test: ImageSet
    ood: Mapping[str, ImageSet]
    sha256: str
    shifted: Mapping[str, ImageSet] = MappingProxyType({})
    groups: Mapping[str, tuple[str, ...]] = MappingProxyType({})

    @property
    def dropped(self) -> int:
        """Pictures that were left out because they cannot be decoded."""
        return sum(one.dropped for one in (self.train, self.test, *self.shifted.values(), *self.ood.values()))

    def test_sets(self) -> dict[str, ImageSet]:
        """What the test loop runs over, in its order: `id`, `ood/<set>`, `shifted/<set>`.

        A shifted set may have no picture of the classes that are used; it then adds nothing and is left out.
        """
        return {
            "id": self.test,
            **{f"ood/{name}": images for name, images in self.ood.items()},
            **{f"shifted/{name}": images for name, images in self.shifted.items() if len(images.keys) > 0},
        }
