"""Ctrl-C, SIGTERM and kill -9 at any place: one message, no half file, and the same command ends as if nothing was."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
from command_line import results
from safetensors import safe_open
from stopping import PLACES, stopped

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("no_figures")]

STOPS = [(place, signal.SIGINT) for place in PLACES]
STOPS += [("evaluation of stage 2", signal.SIGTERM), ("a checkpoint", signal.SIGKILL)]
ADVICE = "What was finished is kept; the same command goes on from there."
CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGKILL: -signal.SIGKILL}


@pytest.mark.parametrize(("place", "number"), STOPS, ids=lambda value: getattr(value, "name", value))
def test_a_stopped_command_goes_on_to_the_same_bytes(negprompt, light, finished, tmp_path, place, number):
    runs, output = tmp_path / "runs", tmp_path / "output"
    assert stopped(["train", *light], place, number, output) == CODES[number], output.read_text()
    said = output.read_text()
    assert "Traceback" not in said
    messages = [line for line in said.splitlines() if line.startswith("negprompt ")]
    how = {signal.SIGINT: ["interrupted"], signal.SIGTERM: ["stopped by SIGTERM"], signal.SIGKILL: []}[number]
    assert messages == [f"negprompt train: {word}. {ADVICE}" for word in how]
    assert not list(runs.rglob("negprompt/*/*/DONE"))
    for file in runs.rglob("prompts.safetensors"):
        with safe_open(file, "pt") as whole:
            assert list(whole.keys())

    assert negprompt("train", *light).code == 0
    assert results(runs) == results(finished)
    assert not list(runs.rglob("FAILED.json"))


def test_ctrl_c_while_python_still_loads():
    """As soon as torch is asked for, which is where a user waits."""
    code = (
        "import os, signal, sys\n"
        "class Finder:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'torch': os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Finder())\n"
        "sys.argv = ['negprompt', 'train']\n"
        "from negprompt.cli.main import main\n"
        "main()\n"
    )
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 130
    assert done.stderr.strip() == f"negprompt train: interrupted. {ADVICE}"
