"""A run killed in several phases, by the script that does it a hundred times (experiments/reliability)."""

from __future__ import annotations

import csv
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "experiments" / "reliability" / "kills.py"


@pytest.mark.slow
def test_kills_and_signals_change_no_byte(tmp_path):
    command = [sys.executable, SCRIPT, "--kills=4", "--signals=2", f"--output={tmp_path}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with (tmp_path / "kills.csv").open() as file:
        stops = list(csv.DictReader(file))
    counts = Counter(stop["signal"] for stop in stops)
    assert counts["SIGKILL"] >= 4
    assert counts.total() - counts["SIGKILL"] == 2
    assert "saving a checkpoint" in {stop["phase"] for stop in stops}
