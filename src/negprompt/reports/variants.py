"""Runs of one seed that no column tells apart: the settings in which they differ."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from negprompt.errors import RunError

_GROUPS = ("method", "data", "backbone", "trainer")
_Run = Mapping[str, Any]
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times faster, where PyYAML has it


def variants(
    members: Sequence[_Run], score: str, shifted: Callable[[_Run], object], stages: Mapping[str, Sequence[str]]
) -> list[tuple[str, list[_Run]]]:
    """Part runs into rows that hold every seed once.

    Args:
        members: runs that are alike in all that a table's columns show.
        score: that the rows are about. Runs that differ in their other scores only, and have the same values of this
            one, are the same.
        shifted: covariate-shifted ID sets of a run; two runs that differ in these only are the same run otherwise.
        stages: methods that start from a run's prompts, by its folder.

    Returns:
        For each row its settings ("nnd_weight=0.2, optimizer.lr=0.02"; "" where there is nothing to tell apart) and
        its runs. First stages of different methods are called that.

    Raises:
        RunError: two runs of one seed have the same settings, or their config.yaml cannot be read.
    """
    whole = _one_a_seed(members, score, shifted)
    if whole is not None:
        return [("", whole)]
    configs = [dict(_flat(_config(run, score), "")) for run in members]
    known = sorted({key for config in configs for key in config} - {"method.num_negatives"})  # a column of its own
    keys = [key for key in known if _differs(key, configs)]
    rows: dict[str, list[_Run]] = {}
    for run, config in zip(members, configs, strict=True):
        text = ", ".join(f"{_short(key)}={config.get(key)}" for key in keys)
        rows.setdefault(text, []).append(run)
    parted = []
    for text, runs in rows.items():
        once = _one_a_seed(runs, score, shifted)
        if once is None:
            raise RunError(_twice(runs))
        parted.append((text, once))
    return _named_by_stage(parted, stages)


def same_method(one: str, other: str) -> bool:
    """Whether two run folders have one method with equal settings, the number of negatives apart; no where unknown."""
    try:
        first, second = (_content(Path(run) / "config.yaml")["method"] for run in (one, other))
    except (OSError, yaml.YAMLError, KeyError, TypeError):
        return False
    return {**first, "num_negatives": None} == {**second, "num_negatives": None}


def _named_by_stage(
    rows: list[tuple[str, list[_Run]]], stages: Mapping[str, Sequence[str]]
) -> list[tuple[str, list[_Run]]]:
    """The same rows, called after the methods that start from them where that tells all of them apart."""
    methods = [sorted({name for run in runs for name in stages.get(run.get("run", ""), ())}) for _, runs in rows]
    names = [f"stage 1 of {', '.join(found)}" for found in methods if found]
    if len({*names}) < len(rows):
        return rows
    return [(name, runs) for name, (_, runs) in zip(names, rows, strict=True)]


def _one_a_seed(runs: Sequence[_Run], score: str, shifted: Callable[[_Run], object]) -> list[_Run] | None:
    """The runs, each seed once; None where one seed has two that are not the same."""
    by_seed: dict[int, _Run] = {}
    for run in runs:
        other = by_seed.setdefault(run["seed"], run)
        # With and without shifted sets, the rest of a run is the same: one of the two is enough.
        if other is not run and shifted(other) == shifted(run) and not _same_result(other, run, score):
            return None
    return list(by_seed.values())


def _same_result(one: _Run, other: _Run, score: str) -> bool:
    """Whether two runs that ask for different scores measured the same of one; equal runs in two places are not it."""
    if one["scores"].keys() == other["scores"].keys():
        return False
    return bool(one["scores"][score] == other["scores"][score] and one["id_accuracy"] == other["id_accuracy"])


def _config(run: _Run, score: str) -> dict[str, Any]:
    file = Path(run.get("run", "")) / "config.yaml"
    try:
        content = _content(file)
    except (OSError, yaml.YAMLError) as error:
        message = (
            f"Two runs of {run['method']} on {run['benchmark']} have seed {run['seed']}, and {file} cannot be read "
            f"({error}), so what they differ in is not known. Move one to another folder."
        )
        raise RunError(message) from error
    own = (content.get("score") or {}).get(score)
    return {group: content[group] for group in _GROUPS if group in content} | {"score": {score: own}}


def _content(file: Path) -> Mapping[str, Any]:
    return yaml.load(file.read_text(encoding="utf-8"), _LOADER)  # type: ignore[no-any-return]


def _flat(value: object, name: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(inner, f"{name}.{key}" if name else str(key))
    else:
        yield name, str(value)


def _differs(key: str, configs: Sequence[Mapping[str, str]]) -> bool:
    return len({config.get(key) for config in configs}) > 1


def _short(key: str) -> str:
    return key.removeprefix("method.")


def _twice(runs: Sequence[_Run]) -> str:
    seeds = [run["seed"] for run in runs]
    first, second = [run for run in runs if seeds.count(run["seed"]) > 1][:2]
    return (
        f"Two runs of {first['method']} on {first['benchmark']} have seed {first['seed']} and the same settings: "
        f"{first.get('run', 'one without a folder')} and {second.get('run', 'one without a folder')}. "
        "Move one to another folder."
    )
