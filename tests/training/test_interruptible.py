"""Ctrl-C comes out of a loop as such, whatever was made of it on the way."""

from __future__ import annotations

import multiprocessing
import signal
import subprocess
import sys
import time

import pytest
from helpers import SPEC, image_set

from negprompt import stopping
from negprompt.data.datamodule import ImageDataset, SequentialBatches, batch_loader
from negprompt.training.trainer import interruptible


def ended_by(*errors):
    """Raise the errors one after another, each while the one before it is handled."""
    *earlier, last = errors
    try:
        if earlier:
            ended_by(*earlier)
    finally:
        raise last


@pytest.mark.parametrize(
    "error", [SystemExit(1), RuntimeError("DataLoader worker (pid 1) is killed by signal"), KeyboardInterrupt()]
)
def test_an_error_that_follows_ctrl_c_is_ctrl_c(error):
    with pytest.raises(KeyboardInterrupt), interruptible():
        ended_by(KeyboardInterrupt(), OSError("on the way out"), error)


@pytest.mark.parametrize("error", [SystemExit(3), ValueError("wrong")])
def test_other_errors_stay_what_they_are(error):
    with pytest.raises(type(error)) as caught, interruptible():
        ended_by(OSError("before"), error)
    assert caught.value is error


def test_a_second_ctrl_c_is_heard():
    before = signal.getsignal(signal.SIGINT)
    with interruptible():
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    assert signal.getsignal(signal.SIGINT) == before


def test_lightnings_own_exit_after_sigterm_is_a_stop_too(monkeypatch):
    """Where the signal came between Lightning's handler and ours in its place."""
    monkeypatch.setattr(stopping._State, "received", signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), interruptible():
        raise SystemExit(143)


@pytest.fixture(params=[0, 0.5], ids=["started", "still starting"])
def loader(request, monkeypatch):
    """Pictures one by one from two loader processes, and these processes."""
    at_work = stopping.leave_to_parent
    monkeypatch.setattr(stopping, "leave_to_parent", lambda worker: time.sleep(request.param) or at_work(worker))
    loader = batch_loader(ImageDataset(image_set(12, num_classes=4), SPEC), SequentialBatches(12, 1), 2)
    before, batches = set(multiprocessing.active_children()), iter(loader)
    return batches, [process for process in multiprocessing.active_children() if process not in before]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells who sent a signal")
@pytest.mark.parametrize("number", stopping.SIGNALS)
def test_signals_for_a_whole_job_leave_its_loader_processes_at_work(loader, number):
    batches, processes = loader
    for process in processes:
        subprocess.run(["kill", f"-{int(number)}", str(process.pid)], check=True)
    assert len(list(batches)) == 12


def test_loader_processes_end_when_their_parent_says(loader):
    _, processes = loader
    for process in processes:
        process.terminate()
        process.join(20)
        assert process.exitcode == 0
