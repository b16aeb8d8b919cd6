"""W&B: one curve over all attempts, results and prompts at the end, and no run that W&B could stop."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import wandb
from wandb.proto.wandb_internal_pb2 import Record
from wandb_server import KEY, served

from negprompt.tracking import charts
from negprompt.tracking import wandb as tracking
from negprompt.tracking.attempts import sent_steps
from negprompt.tracking.journal import mend, whole_records
from negprompt.tracking.settings import LoggerSettings
from negprompt.tracking.wandb import is_complete, tracked

OFFLINE = LoggerSettings(name="wandb", mode="offline", group="a sweep", tags=["small"], job_type="ablation")
ROWS = [{"epoch": n, "step": 5 * n + 5, "lr": 0.1, "train/loss": 1.0 / (n + 1)} for n in range(4)]
ATTEMPT = """
import os, signal, sys, time
from pathlib import Path
from negprompt.tracking.settings import LoggerSettings
from negprompt.tracking.wandb import tracked
rows = [{"epoch": n, "step": 5 * n + 5, "lr": 0.1, "train/loss": 1.0 / (n + 1)} for n in range(int(sys.argv[2]))]
with tracked(LoggerSettings(name="wandb", mode="offline"), Path(sys.argv[1]), {"seed": 1}) as tracker:
    for n in range(len(rows)):
        tracker.saved(rows[: n + 1])
    time.sleep(float(sys.argv[3]))
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A run folder; what a developer's own W&B account says does not count."""
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    path = tmp_path / "icons" / "coop" / "tiny_rn" / "seed1-00000000"
    path.mkdir(parents=True)
    yield path
    wandb.teardown()  # the next test may have another server


def kill_after(folder, num_rows, seconds):
    """An attempt in a process of its own that sends rows and is killed so long after the last."""
    done = subprocess.run([sys.executable, "-c", ATTEMPT, str(folder), str(num_rows), str(seconds)], check=False)
    assert done.returncode == -signal.SIGKILL


def written(folder, kind):
    """Records of a kind in all attempts' files."""
    wandb.teardown()  # its own process writes, and may still do so when the run has ended
    files = sorted(folder.glob("wandb/offline-run-*/*.wandb"))
    found = [Record.FromString(content) for file in files for content in whole_records(file)[0]]
    return [getattr(record, kind) for record in found if record.WhichOneof("record_type") == kind]


def finish(folder):
    """What a finished run leaves, and its metrics."""
    rng = np.random.default_rng(0)
    scores = {"id/mcm": rng.random(300), "ood/lines/mcm": rng.random(300) - 0.3}
    labels = {"id/label": np.zeros(300, int), "id/prediction": np.zeros(300, int), "id/key": np.array(["k"] * 300)}
    np.savez(folder / "scores.npz", **scores, **labels)
    (folder / "prompts.safetensors").write_bytes(b"prompts")
    about = dict.fromkeys(("method", "backbone", "weights_sha256", "split_sha256"), "x")
    numbers = dict.fromkeys(("seed", "num_shots", "class_fraction", "steps", "id_accuracy"), 1)
    return {"benchmark": "icons", **about, **numbers, "scores": {"mcm": {"lines": {"auroc": 0.5}}}}


@pytest.mark.parametrize("name", ["csv", "none"])
def test_other_loggers_start_nothing(folder, name):
    with tracked(LoggerSettings(name=name), folder, {}) as tracker:
        assert tracker is None
    assert not list(folder.iterdir())


def test_a_run_has_its_names_its_configuration_its_curve_its_results_and_its_prompts(folder):
    with tracked(OFFLINE, folder, {"seed": 1}) as tracker:
        for n in range(len(ROWS)):
            tracker.saved(ROWS[: n + 1])
        tracker.finished(finish(folder))
    (run,) = written(folder, "run")
    assert run.run_id == json.loads((folder / "wandb.json").read_text())["id"]
    assert run.run_id.startswith("coop-tiny_rn-seed1-00000000-")
    assert (run.project, run.run_group, run.job_type, list(run.tags)) == ("negprompt", "a sweep", "ablation", ["small"])
    assert {item.key: item.value_json for item in run.config.update}["seed"] == "1"
    *curve, results = sent_steps(folder, run.run_id)
    assert curve == [row["step"] for row in ROWS]
    keys = {item.key or item.nested_key[0] for item in written(folder, "history")[-1].item}
    assert results == curve[-1] + 1
    assert {"results/icons", "roc/mcm_table", "histogram/mcm_table"} <= keys
    assert "prompts" in {artifact.type for artifact in written(folder, "artifact")}
    assert is_complete(OFFLINE, folder)


def test_two_attempts_that_were_killed_and_a_third_make_one_curve_also_after_wandb_sync(folder):
    kill_after(folder, 2, 2.5)  # the rows are flushed every second
    run_id = json.loads((folder / "wandb.json").read_text())["id"]
    assert sent_steps(folder, run_id) == [5, 10]
    kill_after(folder, 3, 0)  # between sending and flushing: the file holds nothing
    with tracked(OFFLINE, folder, {}) as tracker:
        tracker.saved(ROWS)
    wandb.teardown()
    assert sent_steps(folder, run_id) == [5, 10, 15, 20]
    assert not is_complete(OFFLINE, folder)
    with served() as server:
        environment = os.environ | {"WANDB_BASE_URL": server.url}
        command = [sys.executable, "-m", "wandb", "sync", str(folder / "wandb")]
        subprocess.run(command, cwd=folder, env=environment, check=True, timeout=100, capture_output=True)
    assert server.steps == [5, 10, 15, 20]


def test_an_online_run_that_goes_on_sends_what_the_server_lacks(folder, monkeypatch):
    online = LoggerSettings(name="wandb")
    with served() as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        with tracked(online, folder, {}) as tracker:
            tracker.saved(ROWS[:2])
        assert server.steps == [5, 10]
        wandb.teardown()
        server.steps.pop()  # the attempt was killed before this one arrived
        with tracked(online, folder, {}) as tracker:
            tracker.saved(ROWS)
    assert server.steps == [5, 10, 15, 20]


@pytest.mark.parametrize("status", ["refused", None, 401, 403, 500])
def test_a_server_that_fails_makes_one_warning_and_an_offline_run(folder, monkeypatch, caplog, status):
    monkeypatch.setattr(tracking, "INIT_SECONDS", 3.0)
    with served(200 if status == "refused" else status) as server, socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # not listening
        port = closed.getsockname()[1]
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{port}" if status == "refused" else server.url)
        started = time.monotonic()
        with tracked(LoggerSettings(name="wandb"), folder, {}) as tracker:
            tracker.saved(ROWS)
        wandb.teardown()
        assert time.monotonic() - started < 40
    assert [record.levelname for record in caplog.records if record.name == tracking.__name__] == ["WARNING"]
    assert "wandb sync" in caplog.text
    assert len(written(folder, "history")) == len(ROWS)


def test_a_run_survives_the_death_of_wandb_s_own_process(folder, caplog):
    with tracked(OFFLINE, folder, {}) as tracker:
        tracker.saved(ROWS[:1])
        children = Path(f"/proc/{os.getpid()}/task").glob("*/children")
        for child in " ".join(file.read_text() for file in children).split():
            if "wandb-core" in Path(f"/proc/{child}/cmdline").read_text():
                os.kill(int(child), signal.SIGKILL)
        tracker.saved(ROWS)
        tracker.finished(finish(folder))
    assert "W&B gave up" in caplog.text
    assert not is_complete(OFFLINE, folder)


def test_a_record_that_was_cut_is_cut_off_and_an_empty_file_put_aside(folder):
    with tracked(OFFLINE, folder, {}) as tracker:
        tracker.saved(ROWS)
    wandb.teardown()  # its own process writes, and may still do so when the run has ended
    (file,) = folder.glob("wandb/offline-run-*/*.wandb")
    whole, end = whole_records(file)
    assert end == file.stat().st_size
    file.write_bytes(file.read_bytes()[:-3])
    mend(file)
    assert whole_records(file) == (whole[:-1], file.stat().st_size)
    file.write_bytes(file.read_bytes()[:7])
    mend(file)
    assert not file.exists()


def test_a_roc_curve_has_few_points_and_the_area_of_all(folder):
    finish(folder)
    arrays = dict(np.load(folder / "scores.npz"))
    (xs,), (ys,), names = charts.roc_lines(arrays, "mcm")
    pairs = arrays["id/mcm"][:, None] > arrays["ood/lines/mcm"]
    assert names == ["lines"]
    assert len(xs) <= charts.MAX_POINTS
    assert (xs[0], ys[0], xs[-1], ys[-1]) == (0, 0, 1, 1)
    assert np.trapezoid(ys, xs) == pytest.approx(pairs.mean(), abs=0.005)
    assert [sum(shares) for shares in charts.histogram_lines(arrays, "mcm").ys] == pytest.approx([100, 100])


def test_an_unknown_mode_ends_no_run(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("WANDB_MODE", "ofline")
    with tracked(LoggerSettings(name="wandb"), tmp_path, {}) as tracker:
        assert tracker is None
    assert "WANDB_MODE=ofline is none of" in caplog.text


def test_a_damaged_identity_ends_no_run(tmp_path):
    (tmp_path / "wandb.json").write_text("{")
    with tracked(LoggerSettings(name="wandb", mode="offline"), tmp_path, {}) as tracker:
        assert tracker is not None
    assert json.loads((tmp_path / "wandb.json").read_text())["id"]
