"""What a test loop remembers: every picture once, in order, whatever the order and the ranks it came from."""

from __future__ import annotations

import pytest
import torch

from negprompt.evaluation.recorder import SetRecorder


def recorded(*batches):
    """A recorder that saw batches of positions; label, prediction and scores follow from the position."""
    recorder = SetRecorder()
    for batch in batches:
        index = torch.tensor(batch)
        recorder.update(index, 10 * index, 100 * index, torch.stack([index + 0.5, -index.float()], dim=1))
    return recorder


def test_pictures_come_back_in_the_order_of_the_set():
    record = recorded([3, 1], [0], [2, 4]).record()
    assert record.label.tolist() == [0, 10, 20, 30, 40]
    assert record.prediction.tolist() == [0, 100, 200, 300, 400]
    assert record.scores[:, 0].tolist() == [0.5, 1.5, 2.5, 3.5, 4.5]
    assert record.scores[:, 1].tolist() == [0, -1, -2, -3, -4]


@pytest.mark.parametrize("batches", [([0, 1, 2], [2, 3, 0]), ([0, 0, 1, 2, 3],), ([3, 2, 1, 0], [3, 2, 1, 0])])
def test_a_picture_seen_twice_counts_once(batches):
    record = recorded(*batches).record()
    assert record.label.tolist() == [0, 10, 20, 30]


def test_the_first_sight_of_a_picture_counts():
    recorder = recorded([0, 1])
    recorder.update(torch.tensor([1]), torch.tensor([7]), torch.tensor([7]), torch.zeros(1, 2))
    assert recorder.record().label.tolist() == [0, 10]


def test_scores_keep_double_precision():
    recorder = SetRecorder()
    value = torch.tensor([[0.1 + 1e-15]], dtype=torch.float64)
    recorder.update(torch.tensor([0]), torch.tensor([0]), torch.tensor([0]), value)
    assert torch.equal(recorder.record().scores, value)


def test_states_gathered_from_ranks_are_read_as_well():
    recorder = recorded([0, 2])
    for name in ("index", "label", "prediction", "scores"):  # torchmetrics leaves one tensor where lists were
        setattr(
            recorder, name, torch.cat([torch.cat(getattr(recorder, name)), torch.cat(getattr(recorded([1, 2]), name))])
        )
    assert recorder.record().label.tolist() == [0, 10, 20]


@pytest.mark.parametrize("scores", [1, 3])
def test_a_set_of_one_picture_keeps_its_axes(scores):
    recorder = SetRecorder()
    recorder.update(torch.tensor([0]), torch.tensor([5]), torch.tensor([6]), torch.ones(1, scores))
    record = recorder.record()
    assert (record.label.tolist(), record.prediction.tolist()) == ([5], [6])
    assert record.scores.tolist() == [[1.0] * scores]
