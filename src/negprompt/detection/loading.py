"""A run folder, or the prompts of one, -> everything that scores a picture. No Lightning, no Hydra."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from negprompt.backbones.base import BackboneSettings, FrozenBackbone
from negprompt.detection.calibration import Calibration
from negprompt.detection.nodes import backbone_of, class_names_of, read_config, score_of
from negprompt.detection.readers import Learned
from negprompt.detection.record import find_record
from negprompt.errors import ConfigError, PromptMismatchError
from negprompt.prompts import bundle as bundles
from negprompt.runs.finished import find_run
from negprompt.scores.base import NEEDS, ON_REQUEST
from negprompt.scores.choice import ScoreChoice
from negprompt.scores.headline import headline_score

GivenBackbone = str | BackboneSettings | FrozenBackbone | None
GivenScore = str | Mapping[str, Mapping[str, Any]] | None
"""A name, or a name with the node that conf/score has of it ({"mcm": {"_target_": ..., "temperature": 0.5}})."""


class Loaded(NamedTuple):
    """What a detector is made of.

    `backbone` frozen, on the CPU unless it was given elsewhere; `learned`: prompts and what belongs to them;
    `class_names` in label order; `score` with its settings, called `score_name`; `calibration` of that score on images
    of these classes, None where there is none.
    """

    backbone: FrozenBackbone
    learned: Learned
    class_names: tuple[str, ...]
    score_name: str
    score: ScoreChoice
    calibration: Calibration | None


def load(
    run: str | Path,
    backbone: GivenBackbone = None,
    score: GivenScore = None,
    class_names: Sequence[str] | None = None,
) -> Loaded:
    """Read a finished run, or one file of prompts.

    Args:
        run: run folder, its `prompts.safetensors`, or a file that `Detector.save` wrote.
        backbone: an object, its settings or its name; None for the one the prompts were learned on.
        score: name of a score, or its node; None for the calibrated one, or else the one the method is known for.
        class_names: K names in label order; None for those of the run.

    Raises:
        NegPromptError: there is no such run, or it does not fit the backbone, the names or the score.
    """
    file = _bundle_file(Path(run))
    bundle, config = bundles.load(file), read_config(file.parent)
    _refuse_other_layout(bundle.metadata, file)
    record = find_record(file, bundle)
    learned = Learned(bundle, bundles.load_adapter(file), config.get("method") or {})
    names = record.class_names if record is not None else None
    if class_names is not None:
        names = checked_names(class_names)
    elif names is None:
        names = class_names_of(config, bundle.metadata)
    bundles.check_names(bundle, names)
    nodes = dict(config.get("score") or {})
    if record is not None:
        nodes[record.score] = record.score_node
    if isinstance(score, Mapping):
        nodes.update(score)
        score = next(iter(score))
    name = score or (record.score if record is not None else _known_for(nodes, learned))
    choice = score_of(name, nodes)
    refuse_lacking(name, choice, learned)
    calibration = None
    if record is not None and (name, names, choice.node) == (record.score, record.class_names, record.score_node):
        calibration = record.calibration
    frozen = backbone_of(backbone, config, bundle.metadata)
    bundles.check(bundle, frozen)
    return Loaded(frozen, learned, names, name, choice, calibration)


def checked_names(class_names: Sequence[str]) -> tuple[str, ...]:
    """Class names that a detector can tell apart.

    Raises:
        ConfigError: fewer than two, an empty one, or one that is there twice.
    """
    if isinstance(class_names, str):
        msg = f"class_names={class_names!r} is one text: give a list of names."
        raise ConfigError(msg)
    names = tuple(class_names)
    if wrong := [name for name in names if not isinstance(name, str) or not name.strip()]:
        msg = f"class_names holds {wrong[0]!r}: every class needs a name of letters."
        raise ConfigError(msg)
    if len(names) < 2:
        given = f"one class ({names[0]!r})" if names else "no class"
        msg = f"class_names has {given}: scores compare an image with several, give at least two names."
        raise ConfigError(msg)
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        msg = f"class_names has {twice[0]!r} twice: prompts cannot tell equal names apart, give each once."
        raise ConfigError(msg)
    return names


def refuse_lacking(name: str, score: ScoreChoice, learned: Learned) -> None:
    """Let a detector have a score that its prompts can give.

    Raises:
        ConfigError: it needs something else, or a fit on training pictures; names the scores that fit.
    """
    possible = learned.provides | (ON_REQUEST - {"training_features"})
    lacking = sorted(score.needs - possible)
    if lacking:
        others = "mcm, max_logit, energy, msp" + (", negprompt" if "negative" in learned.provides else "")
        msg = (
            f"score={name} needs {' and '.join(NEEDS[need] for need in lacking)}, which a detector of these prompts "
            f"does not have: use another one, such as {others}."
        )
        raise ConfigError(msg)


def _bundle_file(run: Path) -> Path:
    """The prompts that a path names: of a finished run's folder, or a file."""
    if run.is_file() and run.suffix == ".safetensors":
        return run
    return find_run(run).path / bundles.FILE_NAME


def _known_for(nodes: dict[str, object], learned: Learned) -> str:
    """The score a method is known for, of those that its run has, or that its prompts can give."""
    possible = learned.provides | (ON_REQUEST - {"training_features"})
    names = [name for name, node in nodes.items() if isinstance(node, dict)]
    fitting = [name for name in names if score_of(name, nodes).needs <= possible]
    if fitting:
        return headline_score(fitting)
    return headline_score(["negprompt", "mcm"] if "negative" in learned.provides else ["mcm"])


def _refuse_other_layout(metadata: object, file: Path) -> None:
    known = {"backbone", "backbone_tag", "weights_sha256", "class_token_position", "full_stop", "train_class_names"}
    missing = sorted(known - set(metadata if isinstance(metadata, dict) else ()))
    if missing:
        msg = f"{file} lacks {', '.join(missing)} in its metadata: it is of another version, make the run again."
        raise PromptMismatchError(msg)
