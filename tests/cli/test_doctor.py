"""`negprompt doctor`: what is there, what is missing, and that nothing odd keeps it from saying so."""

from __future__ import annotations

import json
import os
import re
import stat

import numpy as np
import pytest
import torch

from negprompt.cli.health import cluster, machine, needs
from negprompt.cli.health.finding import Finding, looked
from negprompt.tracking.wandb import LoggerSettings

CONFIG = """\
Configuration data as of 2026-11-25T23:56:55
ClusterName             = test
JobRequeue              = {requeue}
KillWait                = 20 sec
PreemptMode             = REQUEUE
PreemptParameters       = {preempt}
PreemptType             = {kind}
SLURM_VERSION           = 22.05.8
SlurmctldParameters     = {controller}
"""
PARTITIONS = """\
PartitionName=low Default=YES GraceTime=0 MaxTime=01:00:00 PreemptMode=REQUEUE State=UP TotalCPUs=4 TotalNodes=1
PartitionName=gpu Default=NO GraceTime=60 MaxTime=UNLIMITED PreemptMode=OFF State=DOWN TotalCPUs=8 TotalNodes=2
"""


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """A scontrol that says what it is told to."""

    def install(code=0, kind="preempt/partition_prio", controller="(null)", preempt="(null)", requeue=1):
        folder = tmp_path / "bin"
        folder.mkdir(exist_ok=True)
        text = CONFIG.format(kind=kind, controller=controller, preempt=preempt, requeue=requeue)
        (tmp_path / "config").write_text(text)
        (tmp_path / "partition").write_text(PARTITIONS)
        script = folder / "scontrol"
        script.write_text(
            f'#!/bin/sh\n[ {code} = 0 ] || {{ echo "no controller" >&2; exit {code}; }}\ncat {tmp_path}/"$2"\n'
        )
        script.chmod(script.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")

    return install


def found(launcher=None):
    return {one.name: one for one in cluster.findings(launcher or {})}


# --- the whole command ---------------------------------------------------------------------------------------------


def test_without_overrides_it_works_anywhere(negprompt, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = negprompt("doctor")
    assert (said.code, said.messages) == (0, [])
    for word in ("torch", "tiny_rn", "paths.runs_dir", "Slurm", "W&B", "steps of coop"):
        assert word in said.out
    assert not list(tmp_path.iterdir())


def test_what_the_settings_need_and_is_missing_is_named_and_fails(negprompt, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    said = negprompt("doctor", "backbone=vit_b16_laion2b", "data=imagenet_1k", f"paths.data_root={tmp_path}")
    (line,) = said.messages
    assert said.code == 1
    assert "vit_b16_laion2b, data" in line
    assert "negprompt fetch backbone=vit_b16_laion2b" in " ".join(said.out.split())


def test_wrong_settings_are_refused_as_by_train(negprompt):
    said = negprompt("doctor", "seed=abc")
    assert said.code == 2
    assert "seed=abc" in said.err


def test_several_devices_are_looked_at_from_one_process(negprompt, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = negprompt("doctor", "trainer=cpu", "trainer.devices=2")
    assert (said.code, said.out.count("packages")) == (0, 1)


def test_what_cannot_be_looked_at_hides_nothing_else():
    def odd():
        yield Finding("first", "ok", "")
        raise PermissionError("locked")

    (line,) = looked("place", odd)
    assert (line.name, line.state) == ("place", "warning")
    assert "locked" in line.text


# --- the machine ---------------------------------------------------------------------------------------------------


def test_a_folder_that_may_not_be_written_is_missing(tmp_path, monkeypatch):
    monkeypatch.setattr(machine.os, "access", lambda _, mode: not mode & os.W_OK)
    assert machine._folder("paths.runs_dir", tmp_path / "runs", needs_writing=True).state == "missing"
    assert machine._folder("paths.data_root", tmp_path, needs_writing=False).state == "ok"


@pytest.mark.parametrize(("variable", "value"), [("WANDB_MODE", "offline"), ("WANDB_API_KEY", "k")])
def test_wandb_is_fine_with_a_key_or_offline(monkeypatch, tmp_path, variable, value):
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.delenv("WANDB_MODE")
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    wanted = LoggerSettings(name="wandb")
    assert machine.login(wanted).state == "warning"
    monkeypatch.setenv(variable, value)
    assert machine.login(wanted).state == "ok"


def test_wandb_finds_its_key_in_netrc(monkeypatch, tmp_path):
    (tmp_path / "netrc").write_text("machine api.wandb.ai login user password k\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.delenv("WANDB_MODE")
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    assert machine.login(LoggerSettings()).text == "logged in at api.wandb.ai"


# --- the cluster ---------------------------------------------------------------------------------------------------


def test_no_slurm_is_a_note_and_missing_for_those_who_want_it(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert found()["Slurm"].state == "note"
    assert found({"name": "slurm"})["Slurm"].state == "missing"


def test_a_controller_that_is_silent(slurm):
    slurm(code=1)
    assert (found()["Slurm"].state, "no controller" in found()["Slurm"].text) == ("warning", True)


@pytest.mark.parametrize(
    ("settings", "state"),
    [
        ({"controller": "enable_configless,preempt_send_user_signal"}, "ok"),
        ({"preempt": "send_user_signal"}, "ok"),
        ({}, "note"),
    ],
)
def test_whether_preemption_forwards_the_signal(slurm, settings, state):
    slurm(**settings)
    assert found()["signal on preemption"].state == state


def test_nothing_is_said_of_the_signal_where_nothing_is_preempted(slurm):
    slurm(kind="preempt/none")
    assert "signal on preemption" not in found()


def test_partitions_are_shown_and_those_of_the_settings_are_checked(slurm):
    slurm()
    shown = found()
    assert "at most 01:00:00" in shown["partition low (default)"].text
    assert shown["partition gpu"].state == "warning"
    typo = found({"name": "slurm", "partition": "gpus", "timeout_min": 30})["launcher.partition"]
    assert (typo.state, "did you mean 'gpu'?" in typo.fix) == ("missing", True)
    assert "launcher.partition" not in found({"name": "slurm", "partition": "low,gpu", "timeout_min": 30})


@pytest.mark.parametrize("partition", ["low", None])
def test_more_time_than_the_partition_gives_is_missing(slurm, partition):
    slurm()
    asked = found({"name": "slurm", "partition": partition, "timeout_min": 1440})["launcher.timeout_min"]
    assert (asked.state, asked.fix) == ("missing", "launcher.timeout_min=60")


# --- what a run needs ----------------------------------------------------------------------------------------------


def test_steps_and_the_store_are_those_of_the_run(negprompt, light, tmp_path):
    """Exact numbers: what the doctor says before equals what the run has afterwards."""
    said = negprompt("doctor", *light).out
    steps = {name: int(number) for name, number in re.findall(r"steps of (\w+)\s+([\d,]+), ", said)}
    assert negprompt("train", *light).code == 0
    for method, number in steps.items():
        (metrics,) = (tmp_path / "runs").rglob(f"{method}/*/*/metrics.json")
        assert json.loads(metrics.read_text())["steps"] == number
    assert set(steps) == {"coop", "negprompt"}
    stored = sum(torch.Size(one).numel() * 4 for one in _stored(tmp_path / "runs" / "_features"))
    assert f"{machine.gib(stored)} for 1 views" in " ".join(said.split())


def _stored(folder):
    return [np.load(file, mmap_mode="r").shape for file in folder.rglob("features.npy")]


def test_durations_and_limits_are_readable():
    assert [needs._duration(seconds) for seconds in (0.2, 600, 7200)] == ["1 s", "10 min", "2.0 h"]
