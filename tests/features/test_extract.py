"""Extraction that is killed, doubled or shared out gives the same files, and computes every block once."""

from __future__ import annotations

import logging

import extraction
import pytest
from extraction import BLOCK, COUNT, SIX_A_VIEW, VIEWS, calls, contents, start, start_ranks, store, views

from negprompt.features.partial import progress


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Files of a store that nothing happened to."""
    root = tmp_path_factory.mktemp("whole") / "store"
    store(root).get(views())
    return contents(root)


@pytest.fixture
def root(tmp_path):
    return tmp_path / "store"


def ended(process, seconds=120):
    process.join(seconds)
    return process.exitcode


@pytest.mark.parametrize("dies_at", [1, 2, 5, VIEWS * SIX_A_VIEW])
def test_a_killed_extraction_goes_on_where_it_was(root, whole, dies_at):
    assert ended(start(root, dies_at)) == -9
    assert len(calls(root)) == dies_at - 1
    assert not [path for path in root.glob("*/*") if path.is_dir() and path.suffix != ".partial"]
    store(root).get(views())
    assert len(calls(root)) == VIEWS * SIX_A_VIEW
    assert contents(root) == whole


def test_going_on_is_said_with_the_rows_that_are_done(root, caplog):
    ended(start(root, 4))
    halves = sorted(root.glob("*/*.partial"))
    assert [progress(folder) for folder in halves] == [(2 * BLOCK, COUNT), (BLOCK, COUNT)]
    caplog.set_level(logging.INFO)
    store(root).get(views())
    for rows in (BLOCK, 2 * BLOCK):
        assert any(f"{rows} of {COUNT} pictures are done" in text for text in caplog.messages)


def test_another_block_size_fills_the_same_gaps(root):
    ended(start(root, 4))
    store(root, eval_batch_size=7).get(views())
    assert sum(calls(root)) == VIEWS * COUNT


@pytest.mark.parametrize("name", ["layout.json", "features.npy"])
def test_a_folder_that_cannot_be_gone_on_with_is_made_anew(root, whole, name):
    ended(start(root, 4))
    for path in root.glob(f"*/*.partial/{name}"):
        path.write_bytes(path.read_bytes()[:-1])
    store(root).get(views())
    assert len(calls(root)) == 3 + VIEWS * SIX_A_VIEW
    assert contents(root) == whole


@pytest.mark.parametrize("step", ["pathlib.Path.rename", "shutil.rmtree"])
def test_a_death_between_the_last_block_and_the_name_computes_nothing_again(root, whole, monkeypatch, step):
    def dies(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(step, dies)
    with pytest.raises(KeyboardInterrupt):
        store(root).get(views())
    monkeypatch.undo()
    store(root).get(views())
    assert len(calls(root)) == VIEWS * SIX_A_VIEW
    assert contents(root) == whole


def test_two_processes_at_once_compute_every_block_once(root, whole):
    both = [start(root), start(root)]
    assert [ended(process) for process in both] == [0, 0]
    assert len(calls(root)) == VIEWS * SIX_A_VIEW
    assert contents(root) == whole


def test_who_waits_says_so_and_then_reads(root, caplog, monkeypatch):
    caplog.set_level(logging.INFO)
    inner, outer = store(root), store(root)
    acquire = extraction.extract.EntryLocks._acquire

    def held(self, lock, folder):  # another process has the lock, and finishes while we wait
        monkeypatch.undo()
        inner.get(views())
        acquire(self, lock, folder)

    monkeypatch.setattr("negprompt.features.extract.EntryLocks._acquire", held)
    outer.get(views())
    assert len(calls(root)) == VIEWS * SIX_A_VIEW


def test_two_ranks_write_the_same_files(root, whole):
    assert [ended(process) for process in start_ranks(root)] == [0, 0]
    assert sorted(calls(root)) == sorted(VIEWS * ([BLOCK] * (SIX_A_VIEW - 1) + [COUNT % BLOCK]))
    assert contents(root) == whole
