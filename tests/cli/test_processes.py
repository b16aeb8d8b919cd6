"""`trainer.devices=2` on the command line: started, said once, stopped together."""

from __future__ import annotations

import signal
import time

import pytest
from command_line import Said, one_message, processes_with
from warm import Started

pytestmark = pytest.mark.slow

TWO = ("trainer.devices=2",)


def run(*words) -> Said:
    started = Started("train", *words)
    out, err = started.communicate(timeout=200)
    return Said(started.returncode, out, err)


def test_a_run_of_two_processes_is_told_and_written_once(light, tmp_path, no_figures):
    said = run(*light, *TWO)
    assert said.code == 0, said.err
    assert said.out.count("written to") == 1
    assert said.err.count("training negprompt ...") == 1
    assert "Traceback" not in said.err
    assert len(list((tmp_path / "runs").rglob("DONE"))) == 2


def test_what_goes_wrong_is_said_once_and_ends_both(light, icons, tmp_path):
    broken = tmp_path / "icons"
    broken.mkdir()
    for file in icons.iterdir():
        (broken / file.name).write_bytes(file.read_bytes())
    (broken / "id_train.tar").write_bytes((icons / "id_train.tar").read_bytes()[:1000])
    words = [word if not word.startswith("data.root=") else f"data.root={broken}" for word in light]
    said = run(*words, *TWO)
    assert said.code == 1
    assert "Traceback" not in said.err
    messages = {message.replace("[process 1] ", "") for message in said.messages}
    assert len(messages) == 1
    assert "id_train.tar" in messages.pop()


def test_numbers_of_processes_cannot_be_swept_where_runs_share_them(negprompt, icons, tmp_path):
    words = (f"data.root={icons}", f"paths.runs_dir={tmp_path / 'runs'}", "trainer=cpu")
    said = negprompt("extract", *words, "--multirun", "trainer.devices=1,2")
    one_message(said, 2, "trainer.devices=1,2", "share their processes")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGUSR1])
def test_a_signal_stops_all_processes_at_one_step_and_the_same_command_ends_as_if_there_had_been_none(
    light, tmp_path, number
):
    words = [word if "epochs" not in word else word.partition("=")[0] + "=300" for word in light]
    child = Started("train", *words, *TWO)
    for _ in range(600):
        if list((tmp_path / "runs").rglob("last.ckpt")):
            break
        time.sleep(0.2)
    child.send_signal(number)
    _, err = child.communicate(timeout=60)
    assert child.returncode == 128 + number, err
    assert "Traceback" not in err
    assert not processes_with(str(tmp_path))
    assert not list((tmp_path / "runs").rglob("DONE"))
