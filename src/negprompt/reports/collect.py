"""Finished runs -> one row a run -> mean and spread over seeds. Refuses to put together what cannot be compared."""

from __future__ import annotations

import json
import logging
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from negprompt.errors import RunError
from negprompt.runs.folder import DONE

log = logging.getLogger(__name__)

METRICS_FILE = "metrics.json"
SCHEMA = 1
MEAN = "mean"  # the entry beside the OOD sets: their unweighted mean
GROUP_KEYS = ("benchmark", "method", "backbone", "num_shots", "class_fraction", "num_negatives")
HASHES = ("class_names_sha256", "split_sha256")


class Statistic(NamedTuple):
    """A fraction over seeds: mean and sample standard deviation, None for a single seed."""

    mean: float
    std: float | None


class SummaryRow(NamedTuple):
    """One score of one method over its seeds.

    `auroc` and `fpr95` (`fpr95_id_positive`) hold one entry an OOD set, then one for each of `groups` (means over some
    of the sets) and, last, their mean under "mean".
    """

    benchmark: str
    method: str
    backbone: str
    num_shots: int
    class_fraction: float
    num_negatives: int | None
    score: str
    seeds: tuple[int, ...]
    id_accuracy: Statistic
    auroc: Mapping[str, Statistic]
    fpr95: Mapping[str, Statistic]
    groups: tuple[str, ...] = ()

    @property
    def ood_sets(self) -> tuple[str, ...]:
        """Names of the OOD sets, without the means."""
        return tuple(name for name in self.auroc if name not in (*self.groups, MEAN))


def collect(runs_dir: str | Path) -> list[dict[str, Any]]:
    """Read the metrics of all finished runs below a folder.

    Args:
        runs_dir: a folder that holds run folders at any depth, or a run folder. What lies in folders whose names begin
            with _ is left out, for example replaced runs in `_superseded`, unless such a folder is named itself.

    Returns:
        The content of each metrics.json, in the order of the folders' names, with the folder under "run".

    Raises:
        RunError: there is no finished run, a file is damaged, or two runs of one benchmark differ in their class
            names, or in their pictures where seed, shots, class fraction and OOD sets are the same.
    """
    folder = Path(runs_dir)
    if not folder.is_dir():
        message = f"There is no folder {folder}: give the folder that holds the runs (runs=DIR)."
        raise RunError(message)
    rows = []
    for done in sorted(folder.rglob(DONE)):
        if any(part.startswith("_") for part in done.relative_to(folder).parts):
            continue
        if (done.parent / METRICS_FILE).is_file():
            rows.append(_read(done.parent / METRICS_FILE) | {"run": done.parent.as_posix()})
        else:
            log.warning("%s is marked %s but has no %s: left out", done.parent, DONE, METRICS_FILE)
    if not rows:
        message = f"No finished run in {folder}: a run counts once its folder holds {DONE}."
        raise RunError(message)
    rows = _tested_on_ood(rows, folder)
    check_comparable(rows)
    return rows


def _tested_on_ood(rows: Sequence[dict[str, Any]], folder: Path) -> list[dict[str, Any]]:
    """Rows that have something to compare: runs of `ood=none` have an ID accuracy alone.

    Raises:
        RunError: no run has.
    """
    tested = [row for row in rows if ood_sets(row)]
    if not tested:
        message = f"The runs in {folder} were tested on no OOD picture (ood=none): name some with ood=..."
        raise RunError(message)
    if untested := len(rows) - len(tested):
        log.warning("Left out, since they were tested on no OOD picture (ood=none): %d run(s)", untested)
    return tested


def check_comparable(rows: Iterable[Mapping[str, Any]]) -> None:
    """Refuse rows that would put different pictures or classes under one name.

    Raises:
        RunError: naming the two folders and what differs.
    """
    first: dict[tuple[object, ...], Mapping[str, Any]] = {}
    for row in rows:
        benchmark = row["benchmark"]
        same_names = (benchmark, "class_names_sha256")
        tested = (frozenset(ood_sets(row)), _shifted_sets(row))
        same_pictures = (benchmark, row["seed"], row["num_shots"], row["class_fraction"], *tested)
        for name, key in zip(HASHES, (same_names, same_pictures), strict=True):
            other = first.setdefault(key, row)
            if other[name] != row[name]:
                message = (
                    f"Runs of the benchmark '{benchmark}' cannot stand in one table, {name} differs: {_folder(other)} "
                    f"has {other[name][:8]}, {_folder(row)} has {row[name][:8]}. Move one of them to another folder."
                )
                raise RunError(message)


def summary(rows: Iterable[Mapping[str, Any]]) -> list[SummaryRow]:
    """Mean and sample standard deviation over seeds.

    Args:
        rows: contents of metrics.json; `collect` makes them.

    Returns:
        One row for each benchmark, method, backbone, shots, class fraction, number of negatives, score and choice of
        OOD sets, in the order of their first appearance; then the same for runs with covariate-shifted ID sets, which
        make a benchmark of their own ("... (full spectrum)").

    Raises:
        RunError: a group holds a seed twice: its runs differ in a setting that no column shows.
    """
    groups: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    standard = list(rows)
    for row in (*standard, *(_full_spectrum(row) for row in standard if _shifted_sets(row))):
        for score in row["scores"]:
            tested = (frozenset(ood_sets(row)), frozenset(row.get("groups", ())), row.get("enlarged_by"))
            groups.setdefault((*(row[name] for name in GROUP_KEYS), score, tested), []).append(row)
    return [_summary_row(key[: len(GROUP_KEYS)], key[-2], members) for key, members in groups.items()]


def _full_spectrum(row: Mapping[str, Any]) -> dict[str, Any]:
    """The run as a run of another benchmark: that with the shifted sets on the ID side."""
    enlarged = row["full_spectrum"]
    return {
        **{key: value for key, value in row.items() if key != "full_spectrum"},
        "benchmark": f"{row['benchmark']} (full spectrum)",
        "id_accuracy": enlarged["id_accuracy"],
        "scores": enlarged["scores"],
        "enlarged_by": _shifted_sets(row),
    }


def split_settings(rows: Sequence[SummaryRow]) -> tuple[dict[str, str], dict[str, list[str]]]:
    """Part the settings into those all rows share, for a title, and those that differ, for labels.

    A method that has no shots or no negatives does not make a difference.

    Returns:
        Shared settings by name, and differing ones with one text a row, empty where a method has none.
    """
    settings = {
        "backbone": [row.backbone for row in rows],
        "shots": [_count(row.num_shots) for row in rows],
        "classes": [f"{100 * row.class_fraction:g} %" for row in rows],
        "negatives": [_count(row.num_negatives) for row in rows],
        "seeds": [", ".join(map(str, row.seeds)) for row in rows],
    }
    distinct = {name: sorted({*values} - {""}) for name, values in settings.items()}
    shared = {name: values[0] for name, values in distinct.items() if len(values) == 1}
    return shared, {name: settings[name] for name, values in distinct.items() if len(values) > 1}


def _count(number: int | None) -> str:
    return "" if number is None or number == 0 else str(number)


def _summary_row(group: tuple[Any, ...], score: str, members: Sequence[Mapping[str, Any]]) -> SummaryRow:
    by_seed: dict[int, Mapping[str, Any]] = {}
    for row in members:
        other = by_seed.setdefault(row["seed"], row)
        # With and without shifted sets, the rest of a run is the same: one of the two is enough.
        if other is not row and _shifted_sets(other) == _shifted_sets(row):
            message = (
                f"Two runs of {row['method']} on {row['benchmark']} have seed {row['seed']} and differ in a setting "
                f"that the table does not show: {_folder(other)} and {_folder(row)}. Move one to another folder."
            )
            raise RunError(message)
    seeds = sorted(by_seed)
    metrics = [by_seed[seed]["scores"][score] for seed in seeds]
    means = tuple(members[0].get("groups", ()))
    names = (*ood_sets(members[0]), *means, MEAN)
    return SummaryRow(
        **dict(zip(GROUP_KEYS, group, strict=True)),
        score=score,
        seeds=tuple(seeds),
        id_accuracy=_statistic([by_seed[seed]["id_accuracy"] for seed in seeds]),
        auroc={name: _statistic([m[name]["auroc"] for m in metrics]) for name in names},
        fpr95={name: _statistic([m[name]["fpr95_id_positive"] for m in metrics]) for name in names},
        groups=means,
    )


def _statistic(values: Sequence[float]) -> Statistic:
    return Statistic(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None)


def _read(path: Path) -> dict[str, Any]:
    try:
        metrics = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        message = f"{path} cannot be read ({error}): delete its folder and run the command again."
        raise RunError(message) from error
    if not isinstance(metrics, dict) or metrics.get("schema") != SCHEMA:
        found = metrics.get("schema") if isinstance(metrics, dict) else type(metrics).__name__
        message = f"{path} has schema {found}, this version reads schema {SCHEMA}: evaluate the run again."
        raise RunError(message)
    missing = [key for key in (*GROUP_KEYS, *HASHES, "seed", "id_accuracy", "scores") if key not in metrics]
    if missing:
        message = f"{path} lacks {', '.join(missing)}: delete its folder and run the command again."
        raise RunError(message)
    return metrics


def ood_sets(row: Mapping[str, Any]) -> tuple[str, ...]:
    """OOD sets of a run, without the means over them, in the order of its file; all its scores have the same."""
    means = (*row.get("groups", ()), MEAN)
    return tuple(dict.fromkeys(name for sets in row["scores"].values() for name in sets if name not in means))


def _shifted_sets(row: Mapping[str, Any]) -> frozenset[str]:
    return frozenset(row.get("full_spectrum", {}).get("sets", ()))


def _folder(row: Mapping[str, Any]) -> str:
    return str(row.get("run", "a row without a folder"))
