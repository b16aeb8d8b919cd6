"""A finished run with its backbone and pictures, for whoever wants to look into it."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from negprompt.errors import ConfigError
from negprompt.evaluation.nearest import nearest_prompts
from negprompt.features.workbench import Workbench
from negprompt.methods.base import MethodSettings
from negprompt.types import NearestPrompts, PromptBundle, TextFeatures


class Starts(NamedTuple):
    """Context vectors before training, in the shapes of the finished ones; None where they cannot be told."""

    positive: Tensor | None
    negative: Tensor | None


class OpenRun:
    """What a finished run is made of, each part computed when it is first asked for.

    Args:
        bench: backbone, benchmark and image features.
        method: of the run.
        seed: of the run.
        bundle: its prompts.
        adapter: what it learned beside them.
    """

    def __init__(
        self,
        bench: Workbench,
        method: MethodSettings,
        seed: int,
        bundle: PromptBundle,
        adapter: Mapping[str, Tensor],
    ) -> None:
        self.bench = bench
        self.bundle = bundle
        self._method = method
        self._seed = seed
        self._adapter = adapter

    @functools.cached_property
    def text(self) -> TextFeatures:
        """Text features of the prompts of all classes of the benchmark."""
        return self._text_of(self.bench.split.class_names)

    @functools.cached_property
    def train_text(self) -> TextFeatures:
        """Text features of the prompts of the classes that training saw."""
        names = tuple(self.bundle.metadata["train_class_names"])
        return self.text if names == self.bench.split.class_names else self._text_of(names)

    @functools.cached_property
    def images(self) -> Mapping[str, Tensor]:
        """Features (N, D) by test set, not normalised; where they are stored, no picture is read."""
        return self.bench.test_features()

    @functools.cached_property
    def nearest(self) -> Mapping[str, NearestPrompts]:
        """Nearest prompts of every test picture, by test set."""
        return {name: nearest_prompts(features, self.text) for name, features in self.images.items()}

    def _text_of(self, class_names: Sequence[str]) -> TextFeatures:
        return self._method.reader(self.bench.backbone, self.bundle, self._adapter, class_names).text

    @torch.no_grad()
    def starts(self) -> Starts:
        """Where the context vectors began: drawn again, with the run's seed, by the method's own code.

        Not known are those of imported prompts, and of positive prompts that a run was given by name.
        """
        names = self.bundle.metadata["train_class_names"]
        make = (self.bench.backbone, names, self._seed)
        try:
            positive, negative = self._method.module(*make, self.bundle).contexts()
        except ConfigError:  # imported prompts, which nothing here has trained
            return Starts(None, None)
        stage = self._method.positive_stage()
        if stage is None:
            return Starts(positive, negative)
        named = getattr(self._method, "positive_prompts", None) is not None
        return Starts(None if named else stage.module(*make, None).contexts().positive, negative)
