"""Records of a test loop -> the content of `scores.npz` and `metrics.json`."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import torch

from negprompt.errors import DataError
from negprompt.evaluation.class_means import class_means
from negprompt.evaluation.recorder import SetRecord
from negprompt.metrics.functional import ood_metrics
from negprompt.prompts.bundle import class_names_sha256
from negprompt.types import PromptBundle, Split

MEAN = "mean"
CLASS_MEAN_SETS = ("ninco",)  # its authors report the mean over its classes, OpenOOD pools its pictures
_COUNTS = ("n_id", "n_ood")
_NO_SETS: Mapping[str, SetRecord] = MappingProxyType({})
_NO_GROUPS: Mapping[str, Sequence[str]] = MappingProxyType({})


class Sides(NamedTuple):
    """Records of the ID set, of the OOD sets and of the covariate-shifted ID sets."""

    id: SetRecord
    ood: dict[str, SetRecord]
    shifted: dict[str, SetRecord]


def by_side(records: Mapping[str, SetRecord]) -> Sides:
    """Sort records under the names of `Split.test_sets`."""
    ood, shifted = (
        {name.removeprefix(side): record for name, record in records.items() if name.startswith(side)}
        for side in ("ood/", "shifted/")
    )
    return Sides(records["id"], ood, shifted)


def score_metrics(
    id_record: SetRecord,
    ood: Mapping[str, SetRecord],
    score_names: Sequence[str],
    groups: Mapping[str, Sequence[str]] = _NO_GROUPS,
) -> dict[str, Any]:
    """`scores` of metrics.json: score -> OOD set -> metrics, and their unweighted means over groups and all sets.

    Raises:
        DataError: a set or group has the name of another entry.
    """
    _refuse_equal_names([*ood, *groups, MEAN])
    table: dict[str, Any] = {}
    for column, score in enumerate(score_names):
        sets = {
            name: ood_metrics(id_record.scores[:, column].numpy(), record.scores[:, column].numpy())
            for name, record in ood.items()
        }
        means = {name: _mean([sets[member] for member in members]) for name, members in groups.items()}
        table[score] = {**sets, **means, MEAN: _mean(list(sets.values()))}
    return table


def _refuse_equal_names(names: Sequence[str]) -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        msg = (
            f"'{twice[0]}' names both an OOD set and a mean over OOD sets: one would overwrite the other in "
            "metrics.json. Rename the set."
        )
        raise DataError(msg)


def _mean(sets: Sequence[Mapping[str, float]]) -> dict[str, float]:
    if not sets:  # a detector that is fitted from Python has no OOD pictures
        return {}
    return {key: float(np.mean([values[key] for values in sets])) for key in sets[0] if key not in _COUNTS}


def id_accuracy(record: SetRecord) -> float:
    """Share of ID pictures whose nearest positive prompt is that of their class."""
    return float((record.prediction == record.label).double().mean())


def full_spectrum(
    id_record: SetRecord,
    shifted: Mapping[str, SetRecord],
    ood: Mapping[str, SetRecord],
    score_names: Sequence[str],
    groups: Mapping[str, Sequence[str]] = _NO_GROUPS,
) -> dict[str, Any]:
    """`full_spectrum` of metrics.json: everything once more with the shifted sets on the ID side."""
    enlarged = SetRecord(*map(torch.cat, zip(id_record, *shifted.values(), strict=True)))
    return {
        "sets": {name: {"accuracy": id_accuracy(one), "n": len(one.label)} for name, one in shifted.items()},
        "id_accuracy": id_accuracy(enlarged),
        "n_id": len(enlarged.label),
        "scores": score_metrics(enlarged, ood, score_names, groups),
    }


def scores_npz(
    id_record: SetRecord,
    ood: Mapping[str, SetRecord],
    score_names: Sequence[str],
    split: Split,
    shifted: Mapping[str, SetRecord] = _NO_SETS,
) -> bytes:
    """File content of scores.npz (contract: run folder); equal results give equal bytes."""
    arrays = _id_arrays("id", id_record, split.test.keys, score_names)
    for name, record in ood.items():
        arrays[f"ood/{name}/key"] = np.array(split.ood[name].keys)
        for column, score in enumerate(score_names):
            arrays[f"ood/{name}/{score}"] = record.scores[:, column].numpy()
    for name, record in shifted.items():
        arrays |= _id_arrays(f"shifted/{name}", record, split.shifted[name].keys, score_names)
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def _id_arrays(prefix: str, record: SetRecord, keys: Sequence[str], score_names: Sequence[str]) -> dict[str, Any]:
    arrays: dict[str, Any] = {
        f"{prefix}/label": record.label.numpy(),
        f"{prefix}/prediction": record.prediction.numpy(),
        f"{prefix}/key": np.array(keys),
    }
    return arrays | {f"{prefix}/{score}": record.scores[:, column].numpy() for column, score in enumerate(score_names)}


def run_metrics(
    id_record: SetRecord,
    ood: Mapping[str, SetRecord],
    score_names: Sequence[str],
    split: Split,
    bundle: PromptBundle,
    shifted: Mapping[str, SetRecord] = _NO_SETS,
    class_mean_sets: Sequence[str] = CLASS_MEAN_SETS,
) -> dict[str, Any]:
    """Content of metrics.json (contract: run folder).

    Args:
        id_record: of the ID test set.
        ood: by name of the OOD set.
        score_names: of the columns of all records.
        split: the benchmark, with its groups of OOD sets.
        bundle: the prompts that were tested.
        shifted: by name of the covariate-shifted ID set.
        class_mean_sets: OOD sets whose mean over classes is reported too, where they are in `ood`.

    Raises:
        DataError: a set or group has the name of another entry.
    """
    learned = bundle.metadata
    metrics = {
        "schema": learned["schema"],
        "benchmark": split.name,
        **{key: learned[key] for key in ("method", "backbone", "seed", "num_shots", "class_fraction")},
        "num_classes": len(split.class_names),
        "num_negatives": 0 if bundle.negative is None else bundle.negative.shape[-3],
        "positive_prompts": learned["positive_prompts"],
        "split_sha256": split.sha256,
        "class_names_sha256": class_names_sha256(split.class_names),
        "weights_sha256": learned["weights_sha256"],
        "steps": learned["steps"],
        "id_accuracy": id_accuracy(id_record),
        "dropped_samples": split.dropped,
        "scores": score_metrics(id_record, ood, score_names, split.groups),
    }
    keys = {name: split.ood[name].keys for name in class_mean_sets if name in ood}
    optional = {
        "groups": {name: list(members) for name, members in split.groups.items()},
        "class_means": class_means(id_record, ood, score_names, keys),
        "full_spectrum": full_spectrum(id_record, shifted, ood, score_names, split.groups) if shifted else {},
    }
    return metrics | {name: content for name, content in optional.items() if content}
