"""Records to files: means over sets, accuracy over positives, and bytes that depend on the content alone."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from helpers import CLASS_NAMES, image_set

from negprompt.evaluation.recorder import SetRecord
from negprompt.evaluation.results import id_accuracy, score_metrics, scores_npz
from negprompt.types import Split


def record(scores, label=0, prediction=0):
    values = torch.tensor(scores, dtype=torch.float64).reshape(len(scores), -1)
    full = torch.full((len(values),), label)
    return SetRecord(full, torch.full_like(full, prediction), values)


ID = record([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.6, 0.4]])
OOD = {"near": record([[0.75, 0.0], [0.1, 0.0]], -1), "far": record([[0.0, 0.9]], -1)}


def test_each_score_is_judged_by_its_own_column():
    table = score_metrics(ID, OOD, ["one", "two"])
    assert table["one"]["near"]["auroc"] == 6 / 8
    assert table["one"]["far"]["auroc"] == 1.0
    assert table["two"]["near"]["auroc"] == 1.0
    assert table["two"]["far"]["auroc"] == 0.0


def test_the_mean_over_sets_does_not_weigh_them_by_size():
    table = score_metrics(ID, OOD, ["one", "two"])
    assert table["one"]["mean"]["auroc"] == (0.75 + 1.0) / 2
    assert table["two"]["mean"]["fpr95_id_positive"] == 0.5
    assert not {"n_id", "n_ood"} & set(table["one"]["mean"])


def test_counts_are_those_of_the_sets():
    near = score_metrics(ID, OOD, ["one", "two"])["one"]["near"]
    assert (near["n_id"], near["n_ood"]) == (4, 2)


def test_accuracy_is_the_share_of_right_predictions():
    some = SetRecord(torch.tensor([0, 1, 2, 3]), torch.tensor([0, 1, 1, 3]), torch.zeros(4, 1))
    assert id_accuracy(some) == pytest.approx(0.75)


def split():
    return Split(
        "some", CLASS_NAMES[:4], 4, image_set(4), image_set(4), {"near": image_set(2), "far": image_set(1)}, ""
    )


def test_saved_arrays_are_those_of_the_records_with_the_pictures_names():
    with np.load(io.BytesIO(scores_npz(ID, OOD, ["one", "two"], split()))) as saved:
        assert list(saved) == [
            "id/label", "id/prediction", "id/key", "id/one", "id/two",
            "ood/near/key", "ood/near/one", "ood/near/two", "ood/far/key", "ood/far/one", "ood/far/two",
        ]  # fmt: skip
        assert saved["id/two"].tolist() == [0.1, 0.2, 0.3, 0.4]
        assert saved["ood/near/one"].dtype == np.float64
        assert saved["ood/near/key"].tolist() == ["some-0", "some-1"]


def test_equal_records_give_equal_bytes():
    assert scores_npz(ID, OOD, ["one", "two"], split()) == scores_npz(ID, OOD, ["one", "two"], split())
