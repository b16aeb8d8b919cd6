"""Finished runs -> one row a run -> mean and spread over seeds. Refuses to put together what cannot be compared."""

from __future__ import annotations

import logging
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from negprompt.errors import RunError
from negprompt.reports.find import find_runs
from negprompt.reports.variants import variants

log = logging.getLogger(__name__)

MEAN = "mean"  # the entry beside the OOD sets: their unweighted mean
GROUP_KEYS = ("benchmark", "method", "backbone", "num_shots", "class_fraction", "num_negatives")
HASHES = ("class_names_sha256", "split_sha256", "weights_sha256")


class Statistic(NamedTuple):
    """A fraction over seeds: mean and sample standard deviation, None for a single seed."""

    mean: float
    std: float | None


class SummaryRow(NamedTuple):
    """One score of one method over its seeds.

    `auroc` and `fpr95` (`fpr95_id_positive`) hold one entry an OOD set, then one for each of `groups` (means over some
    of the sets) and, last, their mean under "mean". `runs`: folders, in the order of `seeds`. `variant`: settings that
    tell it from rows that are alike in all other columns. `by_seed`: mean AUROC and FPR95 over the OOD sets, by name.
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
    runs: tuple[str, ...] = ()
    variant: str = ""
    by_seed: Mapping[int, Mapping[str, float]] = MappingProxyType({})

    @property
    def ood_sets(self) -> tuple[str, ...]:
        """Names of the OOD sets, without the means."""
        return tuple(name for name in self.auroc if name not in (*self.groups, MEAN))


def collect(runs: str | Path | Sequence[str]) -> list[dict[str, Any]]:
    """Read the metrics of all finished runs that can stand side by side; folders that are left out are logged.

    Args:
        runs: as for `find_runs`.

    Raises:
        RunError: there is no finished run, or two runs cannot be compared.
    """
    found = find_runs(runs)
    for folder, reason in found.skipped:
        log.warning("Left out: %s %s", folder, reason)
    check_comparable(found.rows)
    return found.rows


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
        same_weights = ("weights of", row["backbone"])
        for name, key in zip(HASHES, (same_names, same_pictures, same_weights), strict=True):
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
        make a benchmark of their own ("... (full spectrum)"). Where runs of one seed differ in a further setting, its
        values make rows.

    Raises:
        RunError: a row holds a seed twice, and the runs' settings do not tell why.
    """
    groups: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    standard = list(rows)
    stages = _stages(standard)
    for row in (*standard, *(_full_spectrum(row) for row in standard if _shifted_sets(row))):
        for score in row["scores"]:
            tested = (frozenset(ood_sets(row)), frozenset(row.get("groups", ())), row.get("enlarged_by"))
            groups.setdefault((*(row[name] for name in GROUP_KEYS), score, tested), []).append(row)
    return [
        _summary_row(key[: len(GROUP_KEYS)], key[-2], variant, parts)
        for key, members in groups.items()
        for variant, parts in variants(members, key[-2], _shifted_sets, stages)
    ]


def _stages(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """Methods that start from a run's prompts, by its folder."""
    of_run: dict[tuple[str, str, str], list[str]] = {}
    for row in rows:
        if (stage := row.get("positive_prompts")) is not None:
            of_run.setdefault((row["benchmark"], row["backbone"], stage), []).append(row["method"])
    return {_folder(row): of_run.get((row["benchmark"], row["backbone"], Path(_folder(row)).name), []) for row in rows}


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
        "settings": [row.variant for row in rows],
    }
    distinct = {name: sorted({*values} - {""}) for name, values in settings.items()}
    shared = {name: values[0] for name, values in distinct.items() if len(values) == 1}
    return shared, {name: settings[name] for name, values in distinct.items() if len(values) > 1}


def _count(number: int | None) -> str:
    return "" if number is None or number == 0 else str(number)


def _summary_row(group: tuple[Any, ...], score: str, variant: str, members: Sequence[Mapping[str, Any]]) -> SummaryRow:
    by_seed = {row["seed"]: row for row in members}
    seeds = sorted(by_seed)
    metrics = [by_seed[seed]["scores"][score] for seed in seeds]
    means = tuple(members[0].get("groups", ()))
    names = (*ood_sets(members[0]), *means, MEAN)
    return SummaryRow(
        **dict(zip(GROUP_KEYS, group, strict=True)),
        score=score,
        seeds=tuple(seeds),
        id_accuracy=statistic([by_seed[seed]["id_accuracy"] for seed in seeds]),
        auroc={name: statistic([m[name]["auroc"] for m in metrics]) for name in names},
        fpr95={name: statistic([m[name]["fpr95_id_positive"] for m in metrics]) for name in names},
        groups=means,
        runs=tuple(_folder(by_seed[seed]) for seed in seeds),
        variant=variant,
        by_seed={
            seed: {"auroc": one[MEAN]["auroc"], "fpr95": one[MEAN]["fpr95_id_positive"]}
            for seed, one in zip(seeds, metrics, strict=True)
        },
    )


def statistic(values: Sequence[float]) -> Statistic:
    """Mean and sample standard deviation of one value a seed."""
    return Statistic(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None)


def ood_sets(row: Mapping[str, Any]) -> tuple[str, ...]:
    """OOD sets of a run, without the means over them, in the order of its file; all its scores have the same."""
    means = (*row.get("groups", ()), MEAN)
    return tuple(dict.fromkeys(name for sets in row["scores"].values() for name in sets if name not in means))


def _shifted_sets(row: Mapping[str, Any]) -> frozenset[str]:
    return frozenset(row.get("full_spectrum", {}).get("sets", ()))


def _folder(row: Mapping[str, Any]) -> str:
    return str(row.get("run", "a row without a folder"))
