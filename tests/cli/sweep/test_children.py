"""Children are told of each signal once and waited for; a second Ctrl-C kills; nothing of a torchrun reaches them."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time

import pytest

from negprompt import stopping
from negprompt.cli.sweep import children

SLOW_TO_SAVE = """
import signal, sys, time
told = []
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda number, _: told.append(number))
open(sys.argv[1], "w").close()
while not told:
    time.sleep(0.02)
time.sleep(float(sys.argv[2]))
open(sys.argv[1], "w").write(" ".join(map(str, map(int, told))))
sys.exit(128 + told[0])
"""


@pytest.fixture
def at_work(tmp_path, monkeypatch):
    """`at_work(seconds)`: stop children by a list of signals while one runs that takes so long to save; its code."""

    def run(seconds, *signals, wait=0.3):
        began = tmp_path / "began"

        def tell():
            while not began.exists():
                time.sleep(0.02)
            for number in signals:
                os.kill(os.getpid(), number)
                time.sleep(wait)

        with children.stopped_by_signals():
            teller = threading.Thread(target=tell)
            teller.start()
            monkeypatch.setattr(children, "python", lambda: [sys.executable, "-c", SLOW_TO_SAVE])
            words = [str(began), str(seconds)]
            code = children.run(words, environment={}, output=None, own_session=True)
            teller.join()
            assert children.run(words, environment={}, output=None, own_session=True) is None
        return code, began.read_text()

    return run


def test_a_child_saves_and_is_told_once_of_each_signal(at_work):
    assert at_work(1, signal.SIGINT, signal.SIGTERM, signal.SIGTERM) == (130, "2 15")


def test_a_second_ctrl_c_does_not_wait(at_work):
    began = time.monotonic()
    assert at_work(60, signal.SIGINT, signal.SIGINT)[0] == -signal.SIGKILL
    assert time.monotonic() - began < 30


def test_a_child_that_does_not_end_is_killed_in_the_end(at_work, monkeypatch):
    monkeypatch.setattr(children, "PATIENCE", 0.5)
    assert at_work(60, signal.SIGTERM)[0] == -signal.SIGKILL


def test_handlers_are_as_before_afterwards():
    before = [signal.getsignal(number) for number in stopping.SIGNALS]
    with children.stopped_by_signals():
        pass
    assert [signal.getsignal(number) for number in stopping.SIGNALS] == before


def test_a_child_is_the_first_process_of_its_own(tmp_path, monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "TORCHELASTIC_RUN_ID", "SLURM_NTASKS", "SLURM_STEP_ID", "SLURM_JOB_ID"):
        monkeypatch.setenv(name, "3")
    code = "import json, os; print(json.dumps(dict(os.environ)))"
    monkeypatch.setattr(children, "python", lambda: [sys.executable, "-c", code])
    with (tmp_path / "said").open("wb") as output:
        assert children.run([], environment={"A": "b"}, output=output, own_session=True) == 0
    seen = json.loads((tmp_path / "said").read_text())
    assert not {"RANK", "WORLD_SIZE", "TORCHELASTIC_RUN_ID", "SLURM_NTASKS", "SLURM_STEP_ID"} & set(seen)
    assert (seen["SLURM_JOB_ID"], seen["A"]) == ("3", "b")
