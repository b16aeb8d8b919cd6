"""OOD metrics of each class of a set, averaged: every class counts alike, however many pictures it has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

import numpy as np

from negprompt.evaluation.recorder import SetRecord
from negprompt.metrics.functional import Scores, auroc, fpr95_id_positive, fpr95_ood_positive

_METRICS = {"auroc": auroc, "fpr95_id_positive": fpr95_id_positive, "fpr95_ood_positive": fpr95_ood_positive}


def class_means(
    id_record: SetRecord, ood: Mapping[str, SetRecord], score_names: Sequence[str], keys: Mapping[str, Sequence[str]]
) -> dict[str, dict[str, dict[str, float]]]:
    """`class_means` of metrics.json: score -> OOD set -> means over its classes, and their number.

    Args:
        id_record: of the ID test set.
        ood: by name of the OOD set.
        score_names: of the columns of all records.
        keys: names of the pictures of the sets to do this for; the folder that a picture lies in is its class.

    Returns:
        Sets of one class are left out; empty where no set is left.
    """
    classes = {name: found for name, of_set in keys.items() if len(found := _rows_by_class(of_set)) > 1}
    if not classes:
        return {}
    return {
        score: {
            name: _over_classes(id_record.scores[:, column].numpy(), ood[name].scores[:, column].numpy(), rows)
            for name, rows in classes.items()
        }
        for column, score in enumerate(score_names)
    }


def _rows_by_class(keys: Sequence[str]) -> list[list[int]]:
    rows: dict[str, list[int]] = {}
    for row, key in enumerate(keys):
        rows.setdefault(PurePosixPath(key).parent.name, []).append(row)
    return list(rows.values())


def _over_classes(id_scores: Scores, ood_scores: Scores, classes: Sequence[Sequence[int]]) -> dict[str, float]:
    means = {
        name: float(np.mean([metric(id_scores, ood_scores[rows]) for rows in classes]))
        for name, metric in _METRICS.items()
    }
    return {**means, "num_classes": len(classes)}
