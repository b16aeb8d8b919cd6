"""Sweeps of real child processes: light settings, and methods that die, fail or wait when they begin."""

from __future__ import annotations

import csv

import pytest
from command_line import ONE_STAGE

METHODS = '''
import os
import time
from pathlib import Path
from typing import Literal

from negprompt.errors import RunError
from negprompt.methods.zero_shot import ZeroShotSettings

MENDED = Path(__file__).with_name("mended")


class Troubled(ZeroShotSettings):
    """Zero-shot, once `mended` lies beside this file; before, it is killed, fails or waits."""

    trouble: Literal["killed", "fails", "waits"]

    def module(self, *args):
        while not MENDED.exists():
            Path(__file__).with_name("begun").touch()
            if self.trouble == "killed":
                os.kill(os.getpid(), 9)
            if self.trouble == "fails":
                raise RunError("what a pity")
            time.sleep(0.05)
        return super().module(*args)
'''


@pytest.fixture
def quick(icons, tmp_path):
    """Overrides of a zero-shot run that takes a moment, below `tmp_path / "runs"`."""
    return (*ONE_STAGE, f"data.root={icons}", f"paths.runs_dir={tmp_path / 'runs'}", "method=zero_shot")


@pytest.fixture
def troubled(tmp_path):
    """`--config-dir` with the methods `killed`, `fails` and `waits`, and the folder of `begun` and `mended`."""
    code = tmp_path / "conf"  # its modules are found as well
    conf = code / "method"
    conf.mkdir(parents=True)
    (code / "troubled.py").write_text(METHODS)
    for trouble in ("killed", "fails", "waits"):
        text = f"defaults: [zero_shot, _self_]\n_target_: troubled.Troubled\nname: {trouble}\ntrouble: {trouble}\n"
        (conf / f"{trouble}.yaml").write_text(text)
    return code, f"--config-dir={code}"


@pytest.fixture
def table(tmp_path):
    """Rows of the only sweep.csv there is, by member."""

    def rows():
        (path,) = (tmp_path / "runs" / "_sweeps").glob("*/sweep.csv")
        with path.open(newline="") as file:
            return {row["member"]: row for row in csv.DictReader(file)}

    return rows
