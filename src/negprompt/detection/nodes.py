"""Settings of a run's config.yaml -> backbone, class names and score, without the command line's Hydra."""

from __future__ import annotations

import importlib
import inspect
import os
import pkgutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

from negprompt import scores
from negprompt.backbones.base import BackboneSettings, FrozenBackbone
from negprompt.errors import BackboneError, ConfigError, PromptMismatchError, RunError, nearest
from negprompt.scores.choice import ScoreChoice, choose
from negprompt.settings import Settings

Kind = TypeVar("Kind", bound=Settings)
_TARGET = "_target_"
_EMBEDDED = "embedded/"
_WEIGHTS = "NEGPROMPT_WEIGHTS"


def read_config(folder: Path) -> dict[str, Any]:
    """Content of a run's config.yaml, empty where there is none.

    Raises:
        RunError: it is damaged.
    """
    file = folder / "config.yaml"
    if not file.is_file():
        return {}
    try:
        return dict(yaml.safe_load(file.read_text(encoding="utf-8")))
    except (OSError, yaml.YAMLError, TypeError, ValueError) as error:
        msg = f"{file} is damaged ({type(error).__name__}): make the run again."
        raise RunError(msg) from error


def settings_of(base: type[Kind], node: Mapping[str, Any], what: str) -> Kind:
    """The settings object that a node with `_target_` names.

    Args:
        base: it must be one of these.
        node: values and `_target_`.
        what: of a run, for the message.

    Raises:
        RunError: the class cannot be imported, or refuses its values.
    """
    cls = imported(node.get(_TARGET))
    fix = f"give {what}=... when loading"
    if not (isinstance(cls, type) and issubclass(cls, base)):
        msg = f"The run's config.yaml: {what}._target_={node.get(_TARGET)} is no {base.__name__} here; {fix}."
        raise RunError(msg)
    try:
        return cls.model_validate({key: value for key, value in node.items() if key != _TARGET})
    except ValidationError as error:
        msg = f"The run's config.yaml: {what} cannot be made of its settings ({error.errors()[0]['msg']}); {fix}."
        raise RunError(msg) from error


def imported(path: object) -> Any:  # noqa: ANN401 -- classes and functions
    """The class or function of an import path, None where there is none."""
    module, _, name = str(path).rpartition(".")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError):
        return None


def backbone_of(
    given: str | BackboneSettings | FrozenBackbone | None, config: Mapping[str, Any], metadata: Mapping[str, Any]
) -> FrozenBackbone:
    """The backbone that a detector was asked to use, or else the one that its prompts were learned on.

    Args:
        given: an object, its settings, or a name: that of an embedded one, or "<open_clip model>/<pretrained tag>".
        config: of the run, empty where there is none.
        metadata: of the bundle.

    Raises:
        BackboneError: the name is unknown, or the weights are not at hand.
    """
    if isinstance(given, FrozenBackbone):
        return given
    if isinstance(given, BackboneSettings):
        return given.build()
    if given is None and (node := config.get("backbone")) is not None:
        if "weights_dir" in node and os.environ.get(_WEIGHTS):
            node = {**node, "weights_dir": os.environ[_WEIGHTS]}
        return settings_of(BackboneSettings, node, "backbone").build()  # type: ignore[type-abstract]
    return _named(str(metadata["backbone_tag"]) if given is None else given, metadata).build()


def _named(tag: str, metadata: Mapping[str, Any]) -> BackboneSettings:
    model_name, slash, pretrained = tag.partition("/")
    if tag.startswith(_EMBEDDED) or not slash:
        from negprompt.backbones.embedded import EmbeddedSettings  # here: a named backbone costs open_clip's import

        return EmbeddedSettings(name=tag.removeprefix(_EMBEDDED))
    if not pretrained:
        msg = f"backbone={tag!r}: give an embedded one (tiny_rn) or <open_clip model>/<pretrained tag or file>."
        raise BackboneError(msg)
    from negprompt.backbones.openclip import OpenClipSettings

    return OpenClipSettings(
        name=str(metadata["backbone"]),
        model_name=model_name,
        pretrained=pretrained,
        weights_dir=os.environ.get(_WEIGHTS),
    )


def score_names() -> list[str]:
    """Scores that come with the package."""
    modules = [one.name for one in pkgutil.iter_modules(scores.__path__)]
    return [name for name in modules if hasattr(imported(f"{scores.__name__}.{name}.{name}"), "needs")]


def score_of(name: str, nodes: Mapping[str, Any]) -> ScoreChoice:
    """A score with the settings that a run has for it, or else its own defaults.

    Args:
        name: of the score.
        nodes: the run's `score` settings by name.

    Raises:
        ConfigError: no such score, or a setting that it refuses.
    """
    node = nodes.get(name)
    if not isinstance(node, Mapping):
        node = {_TARGET: f"{scores.__name__}.{name}.{name}", **_defaults(f"{scores.__name__}.{name}.{name}")}
    function = imported(node.get(_TARGET))
    if function is None or not hasattr(function, "needs"):
        named = [key for key, value in nodes.items() if isinstance(value, Mapping)]
        msg = f"score={name}: there is no such score; {nearest(name, {*score_names(), *named})}."
        raise ConfigError(msg)
    values = {key: value for key, value in node.items() if key != _TARGET}
    return choose(name, function, values, str(node[_TARGET]))


def _defaults(path: str) -> dict[str, Any]:
    """Settings that a score has by itself."""
    parameters = inspect.signature(function).parameters.values() if (function := imported(path)) is not None else ()
    return {one.name: one.default for one in parameters if one.default is not inspect.Parameter.empty}


def class_names_of(config: Mapping[str, Any], metadata: Mapping[str, Any]) -> tuple[str, ...]:
    """Class names of a run without a detector's record: those trained on, or, where they are some of them, its data's.

    Raises:
        PromptMismatchError: the data set that has the names is not at hand.
    """
    from negprompt.data.base import IDSets
    from negprompt.prompts.bundle import class_names_sha256

    trained: Sequence[str] = metadata["train_class_names"]
    wanted = metadata.get("class_names_sha256")
    if wanted in (None, class_names_sha256(trained)):
        return tuple(trained)
    try:
        names = settings_of(IDSets, config.get("data", {}), "data").names()  # type: ignore[type-abstract]
    except Exception as error:  # whatever a data set that is gone leads to
        msg = (
            f"These prompts were trained on {len(trained)} classes and tested on others, and the data set that has "
            f"their names cannot be read ({error}): give class_names=[...]."
        )
        raise PromptMismatchError(msg) from error
    if class_names_sha256(names) != wanted:
        msg = "The classes of the run's data set have changed since it was trained: give class_names=[...]."
        raise PromptMismatchError(msg)
    return tuple(names)
