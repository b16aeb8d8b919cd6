"""Records of a test loop -> the content of `scores.npz` and `metrics.json`."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from negprompt.evaluation.recorder import SetRecord
from negprompt.metrics.functional import ood_metrics
from negprompt.prompts.bundle import class_names_sha256
from negprompt.types import PromptBundle, Split

_COUNTS = ("n_id", "n_ood")


def score_metrics(id_record: SetRecord, ood: Mapping[str, SetRecord], score_names: Sequence[str]) -> dict[str, Any]:
    """`scores` of metrics.json: score -> OOD set -> metrics, and their unweighted mean over the sets."""
    table: dict[str, Any] = {}
    for column, score in enumerate(score_names):
        sets = {
            name: ood_metrics(id_record.scores[:, column].numpy(), record.scores[:, column].numpy())
            for name, record in ood.items()
        }
        table[score] = {**sets, "mean": _mean(list(sets.values()))}
    return table


def _mean(sets: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {key: float(np.mean([values[key] for values in sets])) for key in sets[0] if key not in _COUNTS}


def id_accuracy(record: SetRecord) -> float:
    """Share of ID pictures whose nearest positive prompt is that of their class."""
    return float((record.prediction == record.label).double().mean())


def scores_npz(id_record: SetRecord, ood: Mapping[str, SetRecord], score_names: Sequence[str], split: Split) -> bytes:
    """File content of scores.npz (contract: run folder); equal results give equal bytes."""
    arrays: dict[str, Any] = {
        "id/label": id_record.label.numpy(),
        "id/prediction": id_record.prediction.numpy(),
        "id/key": np.array(split.test.keys),
    }
    arrays |= {f"id/{score}": id_record.scores[:, column].numpy() for column, score in enumerate(score_names)}
    for name, record in ood.items():
        arrays[f"ood/{name}/key"] = np.array(split.ood[name].keys)
        for column, score in enumerate(score_names):
            arrays[f"ood/{name}/{score}"] = record.scores[:, column].numpy()
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def run_metrics(
    id_record: SetRecord, ood: Mapping[str, SetRecord], score_names: Sequence[str], split: Split, bundle: PromptBundle
) -> dict[str, Any]:
    """Content of metrics.json (contract: run folder)."""
    learned = bundle.metadata
    return {
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
        "scores": score_metrics(id_record, ood, score_names),
    }
