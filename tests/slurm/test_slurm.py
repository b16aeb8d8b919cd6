"""Sweeps on a real Slurm: whatever happens to a job, its run ends with the bytes of one that was left alone."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from command_line import call, results

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900), pytest.mark.usefixtures("no_figures")]

ROOT = Path(__file__).resolve().parents[2]
LIGHT = ("trainer=cpu", "trainer.progress_bar=false", "features.views=1", "data.num_shots=1")
SHORT = (
    *LIGHT,
    "method.optimizer.epochs=2",
    "method.optimizer.min_steps=0",
    "method.positive.optimizer.epochs=2",
    "method.positive.optimizer.min_steps=0",
)
ONE = (*LIGHT, "method=coop", "method.optimizer.epochs=200", "method.optimizer.min_steps=0", "seed=3")
SWEEP = (*SHORT, "method.num_negatives=1,2", "seed=1,2")
PATIENCE_S = 400


@pytest.fixture(scope="module")
def features(tmp_path_factory):
    return f"paths.features_dir={tmp_path_factory.mktemp('features')}"


@pytest.fixture(scope="module")
def alone(tmp_path_factory, features):
    """What runs leave that nobody disturbs: those of the sweep one after the other, and the single one."""
    runs_dir = tmp_path_factory.mktemp("alone")
    for words in (*((*SHORT, f"method.num_negatives={n}", f"seed={seed}") for n in (1, 2) for seed in (1, 2)), ONE):
        assert call("train", *words, features, f"paths.runs_dir={runs_dir}") == 0
    return results(runs_dir)


@pytest.fixture
def of_one(alone):
    return {name: content for name, content in alone.items() if "/seed3-" in name}


class Sweep:
    """`negprompt train --multirun launcher=slurm ...`, waiting for its jobs in a process of its own."""

    def __init__(self, cluster, runs_dir, *words):
        self.cluster, self.runs_dir = cluster, runs_dir
        launcher = ("launcher=slurm", "launcher.partition=low", "launcher.cpus_per_task=1", "launcher.timeout_min=30")
        command = ["train", "--multirun", *launcher, *words, f"paths.runs_dir={runs_dir}"]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "negprompt", *command],
            env={**os.environ, **cluster.environment},
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def wait(self):
        """Exit code and what was said."""
        said, _ = self.process.communicate(timeout=PATIENCE_S)
        return self.process.returncode, said

    def job(self):
        """The queued job of the only member, as squeue names it."""
        (ticket,) = self.runs_dir.rglob("job.json")
        return re.search(r"\d+(_\d+)?", ticket.read_text()).group()


def until(what, holds):
    end = time.monotonic() + PATIENCE_S
    while not (found := holds()):
        assert time.monotonic() < end, f"waited in vain: {what}"
        time.sleep(0.2)
    return found


def held_in_training(cluster, runs_dir):
    """Stop the training process once it has a checkpoint, as if it took for ever: Slurm's signals wake it up."""
    until("a checkpoint", lambda: list(runs_dir.rglob("last.ckpt")))
    for pid in cluster.processes(f"paths.runs_dir={runs_dir}"):
        if b"negprompt\0train" in Path(f"/proc/{pid}/cmdline").read_bytes():
            os.kill(pid, signal.SIGSTOP)
    assert not list(runs_dir.rglob("DONE")), "the run was over too soon: give it more epochs"


def restarts(cluster, job):
    """Times that Slurm has started a job anew."""
    return int(re.search(r"Restarts=(\d+)", cluster.run("scontrol", "show", "job", job).stdout).group(1))


def test_a_sweep_is_an_array_and_ends_with_the_bytes_of_local_runs(cluster, tmp_path, alone, features):
    sweep = Sweep(cluster, tmp_path, *SWEEP, features)
    code, said = sweep.wait()
    assert code == 0, said
    assert results(tmp_path) == {name: content for name, content in alone.items() if "/seed3-" not in name}
    jobs = {re.search(r"\d+_\d+", ticket.read_text()).group() for ticket in tmp_path.rglob("job.json")}
    assert {job.partition("_")[2] for job in jobs} == {"0", "1", "2", "3"}


def test_a_preempted_run_goes_on(cluster, tmp_path, of_one, features):
    sweep = Sweep(cluster, tmp_path, *ONE, features)
    held_in_training(cluster, tmp_path)
    job = sweep.job()
    urgent = cluster.run("sbatch", "-p", "high", "-n", "4", "--output=/dev/null", "--wrap=sleep 1")
    assert urgent.returncode == 0, urgent.stderr
    code, said = sweep.wait()
    assert code == 0, said
    assert restarts(cluster, job) >= 1
    assert results(tmp_path) == of_one


def test_a_run_that_is_queued_again_by_hand_goes_on(cluster, tmp_path, of_one, features):
    sweep = Sweep(cluster, tmp_path, *ONE, features)
    held_in_training(cluster, tmp_path)
    job = sweep.job()
    assert cluster.run("scontrol", "requeue", job).returncode == 0
    code, said = sweep.wait()
    assert code == 0, said
    assert restarts(cluster, job) == 1
    assert results(tmp_path) == of_one


@pytest.fixture(scope="module")
def timed_out(cluster, tmp_path_factory, features):
    """Two runs at once that meet their time limit of two minutes: one of the launcher, one of the sbatch script."""
    swept, scripted = tmp_path_factory.mktemp("swept"), tmp_path_factory.mktemp("scripted")
    sweep = Sweep(cluster, swept, *ONE, features, "launcher.timeout_min=2", "launcher.signal_delay_s=20")
    options = ("--array=3", "--time=2", "--signal=USR1@20", "--cpus-per-task=1", f"--output={scripted}/job.log")
    words = [word for word in ONE if not word.startswith("seed=")]
    submitted = cluster.run(
        "sbatch",
        *options,
        str(ROOT / "experiments" / "cluster" / "negprompt.sbatch"),
        *words,
        features,
        f"paths.runs_dir={scripted}",
        extra={"PATH": os.pathsep.join((str(Path(sys.executable).parent), cluster.environment["PATH"]))},
    )
    assert submitted.returncode == 0, submitted.stderr
    script_job = f"{submitted.stdout.split()[-1]}_3"
    with ThreadPoolExecutor() as watching:  # each at its own first checkpoint: later, its signal may have come
        list(watching.map(lambda runs_dir: held_in_training(cluster, runs_dir), (swept, scripted)))
    code, said = sweep.wait()
    assert code == 0, said
    until("the script's run", lambda: list(scripted.rglob("DONE")))
    return {"launcher": (swept, sweep.job()), "script": (scripted, script_job)}


@pytest.mark.parametrize("by", ["launcher", "script"])
def test_a_run_goes_on_after_its_time_limit(cluster, timed_out, of_one, by):
    runs_dir, job = timed_out[by]
    assert restarts(cluster, job) >= 1
    assert results(runs_dir) == of_one
