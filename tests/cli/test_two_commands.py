"""Two commands at once: equal ones do not disturb each other, different ones share stage 1."""

from __future__ import annotations

import signal
import time

import pytest
from command_line import LIGHT, results
from warm import Started

from negprompt.runs.folder import DONE
from negprompt.runs.lease import lease

pytestmark = pytest.mark.slow


@pytest.fixture
def start(icons, tmp_path):
    """Start `negprompt train <words>` on runs that share a folder."""
    started = []

    def train(*words):
        common = (*LIGHT, f"data.root={icons}", f"paths.runs_dir={tmp_path / 'runs'}")
        started.append(Started("train", *common, *words))
        return started[-1]

    yield train
    for process in started:
        process.kill()
        process.wait(60)


def test_runs_that_share_stage_1_and_start_together_train_it_once(start, finished, tmp_path):
    processes = [start(), start("method.num_negatives=1")]
    said = ["".join(process.communicate(timeout=200)) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    assert sum("training coop ..." in text for text in said) == 1, said
    runs = tmp_path / "runs"
    assert results(finished).items() <= results(runs).items()
    assert len(list(runs.rglob(DONE))) == 3


def test_of_two_equal_commands_one_works_and_the_other_leaves_at_once(start, finished, tmp_path):
    first = start()
    while not list(tmp_path.glob("runs/icons/negprompt/*/.*.lease/1.json")):
        assert first.poll() is None
        time.sleep(0.02)
    first.send_signal(signal.SIGSTOP)
    second = start()
    said = "".join(second.communicate(timeout=200))
    first.send_signal(signal.SIGCONT)
    assert second.returncode == 75
    assert f"is being made right now by process {first.pid} on" in said
    assert "Traceback" not in said
    assert first.wait(200) == 0
    assert not list(tmp_path.rglob("FAILED.json"))
    assert results(tmp_path / "runs") == results(finished)


def test_several_processes_leave_a_busy_run_together_with_one_message(start, finished, tmp_path):
    (done,) = finished.rglob("negprompt/*/*/DONE")
    with lease(tmp_path / "runs" / done.parent.relative_to(finished)):
        process = start("trainer.devices=2")
        said = "".join(process.communicate(timeout=200))
    assert process.returncode == 75
    assert said.count("is being made right now") == 1
    assert "Traceback" not in said
