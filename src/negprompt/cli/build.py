"""Configuration (plain dictionaries) -> checked settings objects; the border where every value is looked at."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field, ValidationError

from negprompt.backbones.base import BackboneSettings
from negprompt.backbones.chunks import TextChunk
from negprompt.backbones.text import TextPath
from negprompt.cli.explain import config_error
from negprompt.data.base import IDSets, OODSets
from negprompt.detection.loading import GivenScore
from negprompt.errors import ConfigError, nearest
from negprompt.features.settings import FeatureSettings
from negprompt.methods.base import MethodSettings
from negprompt.request import Request
from negprompt.scores.choice import ScoreChoice, choose
from negprompt.settings import Settings
from negprompt.tracking.settings import LoggerSettings
from negprompt.training.trainer import TrainerSettings

Kind = TypeVar("Kind", bound=Settings)
_TARGET = "_target_"
_SCORES = ("score", "stage_score")
_LAUNCHING = ("launcher",)
"""Nodes that say how runs are started, not what they are."""
GROUPS = ("backbone", "data", "ood", "method", *_SCORES, "features", "trainer", "logger", "paths")


class Paths(Settings):
    """Folders of data, runs, the feature store, weights, what is remembered, and few-shot draws."""

    data_root: str
    runs_dir: str
    features_dir: str
    weights_dir: str | None
    cache_dir: str | None
    manifests_dir: str | None


class Top(Settings):
    """Settings outside every group."""

    seed: Annotated[int, Field(ge=0, lt=2**32)]
    resume: Literal["auto", "never"]
    text_path: TextPath
    text_chunk: TextChunk
    stage: Literal["all", "first"] = "all"


def build_request(config: Mapping[str, Any]) -> Request:
    """Check a composed configuration and make a request of it.

    Raises:
        ConfigError: names the setting, its value and what is allowed.
    """
    for key in config:
        if key not in (*Top.model_fields, *GROUPS, *_LAUNCHING):
            msg = f"unknown setting {key!r}; {nearest(key, (*Top.model_fields, *GROUPS))}."
            raise ConfigError(msg)
    lacking = [key for key in GROUPS if key not in config and key not in _SCORES]
    if lacking:
        msg = f"{lacking[0]} is missing: set {lacking[0]}=..."
        raise ConfigError(msg)
    top = settings(Top, {key: config[key] for key in Top.model_fields if key in config}, "")
    paths = settings(Paths, config["paths"], "paths")
    scores, cut = _scores(config.get("score", {}))
    stage_scores, _ = _scores(config.get("stage_score", {}))
    request = Request(
        seed=top.seed,
        backbone=target(BackboneSettings, config["backbone"], "backbone"),  # type: ignore[type-abstract]
        data=target(IDSets, config["data"], "data"),  # type: ignore[type-abstract]
        ood=target(OODSets, config["ood"], "ood"),  # type: ignore[type-abstract]
        method=target(MethodSettings, config["method"], "method"),  # type: ignore[type-abstract]
        scores=scores,
        stage_scores=stage_scores,
        features=settings(FeatureSettings, config["features"], "features"),
        trainer=settings(TrainerSettings, config["trainer"], "trainer"),
        logger=settings(LoggerSettings, config["logger"], "logger"),
        runs_dir=Path(paths.runs_dir),
        features_dir=Path(paths.features_dir),
        cut_scores=cut,
        resume=top.resume,
        command=" ".join(sys.argv),
        config={key: value for key, value in config.items() if key not in (*_LAUNCHING, "stage")},
    )
    return request if top.stage == "all" else _first_stage(request)


def _first_stage(request: Request) -> Request:
    first = request.first_stage()
    if first is None:
        msg = f"stage=first: method={request.method.name} makes no stage 1 here; leave stage out."
        raise ConfigError(msg)
    return first


def settings(cls: type[Kind], node: Mapping[str, Any], prefix: str) -> Kind:
    """Check the values of one node."""
    try:
        return cls.model_validate(dict(node))
    except ValidationError as error:
        raise config_error(error, prefix, cls) from error


def target(base: type[Kind], node: Mapping[str, Any], prefix: str) -> Kind:
    """Check a node against the class it names, which must be a `base`; nested nodes carry their own class."""
    values = {key: value for key, value in node.items() if key != _TARGET}
    cls = imported(node.get(_TARGET), prefix)
    if not (isinstance(cls, type) and issubclass(cls, base)):
        msg = f"{prefix}._target_={node.get(_TARGET)}: must be a {base.__name__}."
        raise ConfigError(msg)
    for key, value in values.items():
        if isinstance(value, Mapping) and _TARGET in value:
            try:
                values[key] = target(Settings, value, f"{prefix}.{key}")
            except ConfigError:  # a value that was handed down is named where it was set
                _refuse_own(cls, {name: given for name, given in values.items() if given is not value}, prefix)
                raise
    return settings(cls, values, prefix)


def both_sides(config: Mapping[str, Any], example: str) -> tuple[IDSets, OODSets]:
    """ID and OOD sets of a command that has no others.

    Raises:
        ConfigError: one of them is missing, or a value in it is wrong.
    """
    for group in ("data", "ood"):
        if config.get(group) is None:
            msg = f"{group} is missing: name a data set ({example}), or set {group}=..."
            raise ConfigError(msg)
    return (
        target(IDSets, config["data"], "data"),  # type: ignore[type-abstract]
        target(OODSets, config["ood"], "ood"),  # type: ignore[type-abstract]
    )


def one_score(nodes: Mapping[str, Any] | None, why: str) -> GivenScore:
    """The score of a command that takes one, None where none was chosen.

    Raises:
        ConfigError: several were.
    """
    chosen = {name: node for name, node in (nodes or {}).items() if isinstance(node, Mapping)}
    if len(chosen) > 1:
        msg = f"score={','.join(chosen)}: {why}; choose one of them."
        raise ConfigError(msg)
    return chosen or None


def _refuse_own(cls: type[Settings], values: Mapping[str, Any], prefix: str) -> None:
    """Raise for a wrong value among `values`; a missing one says nothing here."""
    try:
        cls.model_validate(dict(values))
    except ValidationError as error:
        if any(detail["type"] != "missing" for detail in error.errors()):
            raise config_error(error, prefix, cls) from error


def imported(path: object, prefix: str) -> Any:  # noqa: ANN401 -- classes and functions
    """The class or function of an import path."""
    module, _, name = str(path).rpartition(".")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        msg = f"{prefix}._target_={path}: cannot be imported ({error})."
        raise ConfigError(msg) from error


def _scores(node: Mapping[str, Any]) -> tuple[dict[str, ScoreChoice], frozenset[str]]:
    """Scores of the group, and which of them may be left out (`Request.cut_scores`)."""
    choices = {
        name: _score(name, value) for name, value in node.items() if isinstance(value, Mapping) and _TARGET in value
    }
    if not choices:
        msg = "score=[] leaves nothing to compute: choose at least one, for example score=mcm."
        raise ConfigError(msg)
    auto = node.get("auto") or ()
    return choices, frozenset(choices if auto is True else auto)  # True in config.yaml of earlier versions


def _score(name: str, node: Mapping[str, Any]) -> ScoreChoice:
    values = {key: value for key, value in node.items() if key != _TARGET}
    path = node[_TARGET]
    return choose(name, imported(path, f"score.{name}"), values, path)
