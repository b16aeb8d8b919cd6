"""Members are child processes: what one does, others do not feel; what was stopped or failed, the same command ends."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import pytest
from command_line import processes_with
from warm import Started

pytestmark = pytest.mark.slow


def begun(code):
    """Wait for the first member; loading takes long on a busy machine."""
    deadline = time.monotonic() + 180
    while not (code / "begun").exists() and time.monotonic() < deadline:
        time.sleep(0.1)


def states(rows):
    return {name: row["state"] for name, row in rows.items()}


def test_killed_and_failing_members_do_not_sink_a_sweep_and_the_same_command_mends_it(
    negprompt, quick, troubled, table, tmp_path
):
    code, own = troubled
    words = ("train", own, "--multirun", *quick, "method=killed,fails,zero_shot")
    said = negprompt(*words)
    assert said.code == 1
    rows = table()
    assert states(rows) == {"method=killed": "failed", "method=fails": "failed", "method=zero_shot": "done"}
    assert rows["method=killed"]["error"].endswith("killed by SIGKILL (out of memory?)")
    assert rows["method=fails"]["error"] == "RunError: what a pity"
    (failure,) = (tmp_path / "runs").rglob("killed/*/*/FAILED.json")
    assert json.loads(failure.read_text())["stage"] == "unknown"
    killed, fails, last = said.messages
    assert killed.startswith("negprompt train: method=killed: ")
    assert fails.startswith("negprompt train: method=fails: RunError: what a pity")
    assert "2 of 3 runs failed" in last
    assert f"again: {rows['method=fails']['command']}" in said.err
    metrics = json.loads((Path(rows["method=zero_shot"]["run"]) / "metrics.json").read_text())
    assert float(rows["method=zero_shot"]["mean/auroc"]) == metrics["scores"]["mcm"]["mean"]["auroc"]
    assert "Traceback" not in said.err

    (code / "mended").touch()
    said = negprompt(*words)
    assert said.code == 0
    assert states(table()) == {"method=killed": "done", "method=fails": "done", "method=zero_shot": "reused"}
    assert "3 members: 2 to run, 1 finished before" in said.out
    assert not list((tmp_path / "runs").rglob("FAILED.json"))


@pytest.mark.parametrize("launcher", [("local",), ("submitit_local", "launcher.n_jobs=1")], ids=lambda words: words[0])
def test_ctrl_c_stops_the_member_that_runs_and_the_same_command_goes_on(
    negprompt, quick, troubled, table, tmp_path, launcher
):
    code, own = troubled
    words = ["train", own, "--multirun", *quick, "method=waits", "seed=1,2"]
    words += [f"launcher={launcher[0]}", *launcher[1:]]
    sweep = Started(*words)
    begun(code)
    sweep.send_signal(signal.SIGINT)
    _, err = sweep.communicate(timeout=60)
    assert sweep.returncode == 130, err
    assert "Traceback" not in err
    assert err.splitlines()[-1].startswith("negprompt train: interrupted. What was finished is kept;")
    assert states(table()) == {"seed=1": "stopped", "seed=2": "not begun"}
    assert not processes_with(str(tmp_path))

    if launcher[0] == "local":
        (code / "mended").touch()
        assert negprompt(*words).code == 0
        assert states(table()) == {"seed=1": "done", "seed=2": "done"}


def test_a_child_ends_with_a_sweep_that_was_killed(quick, troubled, tmp_path):
    code, own = troubled
    sweep = Started("train", own, "--multirun", *quick, "method=waits")
    begun(code)
    sweep.kill()
    for _ in range(200):
        if not processes_with(str(tmp_path)):
            break
        time.sleep(0.1)
    assert not processes_with(str(tmp_path))
