"""Batches as a function of seed, epoch and position; a restart goes on with exactly the next one."""

from __future__ import annotations

import pytest

from negprompt.errors import ConfigError
from negprompt.training.sampler import EpochBatchSampler


def batches(num_samples=10, batch_size=3, seed=1, done=0):
    return list(EpochBatchSampler(num_samples, batch_size, seed, lambda: done))


def rows(epoch, **arguments):
    per_epoch = len(EpochBatchSampler(arguments.get("num_samples", 10), arguments.get("batch_size", 3), 0, int))
    return [sample.row for batch in batches(done=epoch * per_epoch, **arguments) for sample in batch]


@pytest.mark.parametrize("epoch", range(4))
def test_each_epoch_is_a_permutation(epoch):
    assert sorted(rows(epoch, num_samples=12)) == list(range(12))


def test_each_epoch_has_another_order():
    assert len({tuple(rows(epoch, num_samples=12)) for epoch in range(10)}) == 10


def test_a_batch_that_is_not_full_is_dropped():
    assert [len(batch) for batch in batches(num_samples=11, batch_size=4)] == [4, 4]
    assert len(EpochBatchSampler(11, 4, 0, int)) == 2


def test_pictures_that_miss_one_epoch_come_in_another():
    assert {row for epoch in range(20) for row in rows(epoch, num_samples=11, batch_size=4)} == set(range(11))


def test_a_set_smaller_than_a_batch_is_one_small_batch():
    assert sorted(rows(0, num_samples=5, batch_size=64)) == [0, 1, 2, 3, 4]
    assert len(EpochBatchSampler(5, 64, 0, int)) == 1


def test_samples_carry_the_epoch_they_are_drawn_in():
    assert {sample.epoch for batch in batches(done=0) for sample in batch} == {0}
    assert {sample.epoch for batch in batches(done=8) for sample in batch} == {2}


def test_equal_seeds_give_equal_batches_and_zero_is_a_seed():
    assert batches(seed=0) == batches(seed=0)
    assert batches(seed=0) != batches(seed=1)


@pytest.mark.parametrize("done", range(9))
def test_a_restart_goes_on_with_the_next_batch(done):
    epoch, place = divmod(done, 3)
    assert batches(done=done) == batches(done=3 * epoch)[place:]


def test_the_position_is_asked_for_when_an_epoch_begins():
    position = [0]
    sampler = EpochBatchSampler(12, 3, 1, lambda: position[0])
    first = list(sampler)
    position[0] = 4
    second = list(sampler)
    assert len(first) == len(second) == 4
    assert first != second


# --- several processes ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("world_size", [2, 3])
def test_processes_share_out_each_batch_of_the_single_process(world_size):
    whole = batches(num_samples=12, batch_size=4)
    parts = [list(EpochBatchSampler(12, 4, 1, int, rank, world_size)) for rank in range(world_size)]
    for place, batch in enumerate(whole):
        together = [sample for part in parts for sample in part[place]]
        assert sorted(together) == sorted(batch)
        assert len(together) == len(set(together)) == 4


def test_a_batch_too_small_to_share_is_refused():
    with pytest.raises(
        ConfigError, match=r"batch of 2 pictures cannot be shared by trainer\.devices=3.*features=store"
    ):
        EpochBatchSampler(12, 2, 1, int, 0, 3)
