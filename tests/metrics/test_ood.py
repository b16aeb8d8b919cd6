from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from forks import SERVER
from sklearn.metrics import roc_auc_score

from negprompt.errors import DataError
from negprompt.metrics.functional import ood_metrics
from negprompt.metrics.ood import OODMetrics


def stream(num_images: int = 60, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(-1, 3, (num_images,), generator=generator)
    return torch.randn(num_images, generator=generator) + 28 + (labels >= 0), labels


def test_batches_of_any_size_give_the_metrics_of_all_scores() -> None:
    scores, labels = stream()
    metric = OODMetrics()
    for start, stop in [(0, 1), (1, 8), (8, 40), (40, 60)]:
        metric.update(scores[start:stop], labels[start:stop])
    assert metric.compute() == ood_metrics(scores[labels >= 0], scores[labels == -1])


def test_a_batch_inside_the_unit_interval_is_treated_as_every_other() -> None:
    # torchmetrics' own AUROC decides per batch whether it squashes.
    metric = OODMetrics()
    metric.update(torch.tensor([0.2, 0.9]), torch.tensor([0, -1]))
    metric.update(torch.tensor([0.95, 28.0, 27.0]), torch.tensor([-1, 0, 1]))
    expected = roc_auc_score([1, 0, 0, 1, 1], [0.2, 0.9, 0.95, 28.0, 27.0])
    assert metric.compute()["auroc"] == pytest.approx(expected, abs=1e-12)


def test_a_mask_says_the_same_as_labels() -> None:
    scores, labels = stream()
    by_label, by_mask = OODMetrics(), OODMetrics()
    by_label.update(scores, labels)
    by_mask.update(scores, labels >= 0)
    assert by_mask.compute() == by_label.compute()


def test_reset_forgets_all_scores() -> None:
    metric = OODMetrics()
    metric.update(*stream(seed=1))
    metric.reset()
    scores, labels = stream(seed=2)
    metric.update(scores, labels)
    assert metric.compute() == ood_metrics(scores[labels >= 0], scores[labels == -1])


@pytest.mark.parametrize("label", [-1, 0])
def test_one_side_alone_is_an_error(label: int) -> None:
    metric = OODMetrics()
    metric.update(torch.tensor([0.1, 0.2]), torch.full((2,), label))
    with pytest.raises(DataError, match="at least one score"):
        metric.compute()


def shared_out(rank: int, folder: Path, cuts: list[int], scores: Sequence[float], labels: Sequence[int]) -> None:
    """One process of a group: for each cut, process 0 gets the images before it and process 1 those from it on."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder / 'store'}", rank=rank, world_size=2)
    results = []
    for cut in cuts:
        metric = OODMetrics()
        first, last = (0, cut) if rank == 0 else (cut, len(scores))
        for start in range(first, last, 7):
            batch = slice(start, min(start + 7, last))
            metric.update(torch.tensor(scores[batch]), torch.tensor(labels[batch]))
        results.append(metric.compute())
    (folder / f"{rank}.json").write_text(json.dumps(results))
    torch.distributed.destroy_process_group()


def test_two_processes_with_unequal_shares_get_the_metrics_of_all_images(tmp_path: Path) -> None:
    scores, labels = stream()
    cuts, shared = [17, 60], (scores.tolist(), labels.tolist())  # with 60 the second process sees no image at all
    processes = [SERVER.Process(target=shared_out, args=(rank, tmp_path, cuts, *shared)) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0, 0]
    expected = ood_metrics(scores[labels >= 0], scores[labels == -1])
    assert [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)] == [[expected, expected]] * 2
