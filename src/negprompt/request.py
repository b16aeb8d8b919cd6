"""A run as an object: everything that can change its result, checked, and the folder name that follows from it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

from negprompt.backbones.base import BackboneSettings
from negprompt.data.base import IDSets, OODSets, load_split
from negprompt.errors import ConfigError
from negprompt.features.settings import FeatureSettings
from negprompt.features.workbench import Workbench
from negprompt.methods.base import MethodSettings
from negprompt.prompts import bundle as bundles
from negprompt.runs.folder import RunFolder, request_hash, run_name
from negprompt.scores.base import NEEDS, ON_REQUEST
from negprompt.scores.choice import ScoreChoice
from negprompt.settings import settings_target
from negprompt.tracking.settings import LoggerSettings
from negprompt.training.trainer import TrainerSettings
from negprompt.types import PromptBundle, Split

SCHEMA = 1
"""Number of the result format; part of every request hash, raised when equal requests would give other results."""


class Hashed(NamedTuple):
    """What a run's name needs of a backbone and a benchmark."""

    weights_sha256: str
    split: Split


@dataclass(frozen=True)
class Request:
    """Everything a run is: two equal requests are the same run and share a folder.

    `cut_scores` names those of `scores` that are left out where the method does not come with what they need;
    the others are asked for. `stage_scores` evaluate stage 1.
    `features_dir` is the feature store, None for `_features` below `runs_dir`.
    `config` is the configuration the request was made from, kept in the folder's config.yaml.
    """

    seed: int
    backbone: BackboneSettings
    data: IDSets
    ood: OODSets
    method: MethodSettings
    scores: Mapping[str, ScoreChoice]
    stage_scores: Mapping[str, ScoreChoice]
    features: FeatureSettings
    trainer: TrainerSettings
    runs_dir: Path
    features_dir: Path | None = None
    logger: LoggerSettings = field(default_factory=LoggerSettings)
    cut_scores: frozenset[str] = frozenset()
    resume: Literal["auto", "never"] = "auto"
    command: str = ""
    config: Mapping[str, Any] = field(default_factory=dict)

    def check(self, *, here: bool = True) -> None:
        """Refuse what cannot work together, or not on this machine, before anything is loaded.

        Args:
            here: whether the run is for this machine; a cluster's nodes have other devices, so these are not looked at.

        Raises:
            ConfigError: a score needs what the method does not provide, or class-specific contexts meet new names.
            NegPromptError: what one of the settings refuses.
        """
        self.chosen_scores()
        if self.method.class_specific and self.data.class_fraction < 1:
            msg = (
                f"data.class_fraction={self.data.class_fraction} tests names that were never trained on, which "
                "class-specific contexts do not have: set method.class_specific=false or data.class_fraction=1.0."
            )
            raise ConfigError(msg)
        for part in (*([self.trainer] if here else []), self.backbone, self.data, self.ood, self.method):
            part.check()

    def chosen_scores(self) -> dict[str, ScoreChoice]:
        """Scores of this run.

        Raises:
            ConfigError: a score needs what the method does not provide.
        """
        available = self.method.provides | ON_REQUEST
        fitting = {
            name: score
            for name, score in self.scores.items()
            if score.needs <= (self.method.provides if name in self.cut_scores else available)
        }
        for name, score in self.scores.items():
            if name not in fitting and name not in self.cut_scores:
                lacking = " and ".join(NEEDS[need] for need in sorted(score.needs - available))
                msg = (
                    f"score={name} needs {lacking}, which method={self.method.name} does not have: choose such a "
                    "method or another score."
                )
                raise ConfigError(msg)
        return fitting

    @property
    def looks_at(self) -> frozenset[str]:
        """What method and scores look at beside global image features (keys of `scores.base.NEEDS`)."""
        return self.method.looks_at.union(*(score.needs for score in self.chosen_scores().values()))

    def first_stage(self) -> Request | None:
        """The request whose run this one's positive prompts come from, None for those that are named, or not needed."""
        stage = self.method.positive_stage()
        if stage is None or getattr(self.method, "positive_prompts", None) is not None:
            return None
        config = {**self.config, "method": settings_target(stage)}
        return replace(
            self, method=stage, scores=self.stage_scores, cut_scores=frozenset(self.stage_scores), config=config
        )

    def given_prompts(self) -> PromptBundle | None:
        """The positive prompts that the request names.

        Raises:
            PromptMismatchError: there are none at that place.
        """
        path = getattr(self.method, "positive_prompts", None)
        return None if path is None else bundles.load(path)

    def run_name(self, bench: Workbench | Hashed, given: PromptBundle | None) -> str:
        """Path of the run below `runs_dir`: its hash covers what can change a result, and nothing else.

        Args:
            bench: the loaded backbone and benchmark, or their hashes.
            given: positive prompts that the request names, None where stage 1 is the request's own.
        """
        payload = {
            "schema": SCHEMA,
            "seed": self.seed,
            "backbone": {"name": self.backbone.name, "weights_sha256": bench.weights_sha256},
            "data": self.data.hash_payload(),
            "split_sha256": bench.split.sha256,
            "method": self.method.hash_payload(),
            "positive_prompts": None if given is None else hashlib.sha256(bundles.to_bytes(given)).hexdigest(),
            "scores": {name: dict(score.node) for name, score in self.chosen_scores().items()},
            "features": self.features.hash_payload(),
            "trainer": self.trainer.hash_payload(),
        }
        if (outside := self.method.outside_sha256()) is not None:
            payload["outside"] = outside
        return run_name(self.data.name, self.method.name, self.backbone.name, self.seed, request_hash(payload))


class Finder:
    """Finds the folders of requests without running them; each backbone and each draw of pictures is hashed once."""

    def __init__(self) -> None:
        self._weights: dict[str, str] = {}
        self._splits: dict[str, Split] = {}

    def find(self, request: Request) -> RunFolder:
        """The folder that `api.train` gives a request.

        Raises:
            NegPromptError: weights, pictures or named prompts are not at hand, or do not fit.
        """
        backbone, pictures = request.backbone, (request.data, request.ood, request.seed)
        weights = self._weights.get(key := _key(backbone))
        if weights is None:
            weights = self._weights[key] = backbone.build().weights_sha256()
        split = self._splits.get(key := " ".join(map(_key, pictures)))
        if split is None:
            split = self._splits[key] = load_split(*pictures)
        if (given := request.given_prompts()) is not None:
            bundles.check_weights(given, backbone.name, weights)
        return RunFolder(request.runs_dir / request.run_name(Hashed(weights, split), given))


def _key(value: object) -> str:
    return f"{type(value)} {value!r}"
