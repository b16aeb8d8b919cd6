"""GPUs by lock: no GPU is used twice at a time, whatever processes take and however long, and nobody waits for ever."""

from __future__ import annotations

import subprocess
import sys
import time

from negprompt.cli.sweep import gpus

TAKES = """
import sys, time
from pathlib import Path
from negprompt.cli.sweep import gpus
folder, number, seconds = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
with gpus.leased(["0", "1", "GPU-abc"], number, folder) as names:
    begun = time.monotonic()
    time.sleep(seconds)
    print(",".join(names), begun, time.monotonic())
"""


def taker(folder, number, seconds):
    command = [sys.executable, "-c", TAKES, str(folder), str(number), str(seconds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_real_processes_never_share_a_gpu(tmp_path):
    wanted = [(1, 0.3), (2, 0.1), (1, 0.1), (3, 0.1), (2, 0.3), (1, 0.2)]
    outputs = [process.communicate(timeout=60)[0].split() for process in [taker(tmp_path, *one) for one in wanted]]
    used = [(set(names.split(",")), float(begun), float(ended)) for names, begun, ended in outputs]
    assert sorted(len(names) for names, *_ in used) == sorted(number for number, _ in wanted)
    for place, (names, begun, ended) in enumerate(used):
        for others, began, end in used[:place]:
            assert not (names & others and begun < end and began < ended)


def test_the_gpus_of_a_killed_process_are_free_again(tmp_path):
    with taker(tmp_path, 3, 60) as holder:
        while len(list(tmp_path.glob("*.lock"))) < 4:
            time.sleep(0.05)
        holder.kill()
    with gpus.leased(["0", "1", "GPU-abc"], 3, tmp_path) as names:
        assert names == ("0", "1", "GPU-abc")


def test_who_is_told_to_stop_waits_no_longer(tmp_path):
    with (
        gpus.leased(["0"], 1, tmp_path),
        gpus.leased(["0"], 1, tmp_path, given_up=lambda: True) as names,
    ):
        assert names == ()


def test_only_visible_gpus_are_taken(monkeypatch):
    monkeypatch.setenv(gpus.VARIABLE, "2, 5")
    assert gpus.visible(2) == ("2", "5")
    monkeypatch.delenv(gpus.VARIABLE)
    assert gpus.visible(3) == ("0", "1", "2")
