"""What a sweep will do is known before it does anything: folders, who is done, who is at work elsewhere."""

from __future__ import annotations

import functools
import json

import pytest
from command_line import ONE_STAGE

from negprompt.cli.arguments import parse
from negprompt.cli.compose import members
from negprompt.cli.sweep import plan, slurm
from negprompt.cli.sweep.settings import launcher_settings
from negprompt.runs.lease import Holder

LOCAL = launcher_settings({"name": "local"})
JOBLIB = launcher_settings({"name": "joblib"})


composed = functools.cache(lambda arguments: members("train", parse(arguments)))


@pytest.fixture
def quick(icons, tmp_path, monkeypatch):
    """As for all sweeps, with a relative folder: the same words in every test, which are composed once."""
    monkeypatch.chdir(tmp_path)
    return (*ONE_STAGE, f"data.root={icons}", "paths.runs_dir=runs", "method=zero_shot")


def planned(*words, launcher=LOCAL):
    arguments = ("--multirun", *words)
    return plan.planned(parse(arguments), composed(arguments), launcher)


def folders(some):
    return [member.folder for member in some]


def test_the_same_runs_are_the_same_sweep_whatever_their_order(quick):
    one = planned(*quick, "seed=1,2")
    assert one.folder == planned("seed=2,1", *quick).folder
    assert one.folder != planned(*quick, "seed=1,3").folder
    assert [member.name for member in one.members] == ["seed=1", "seed=2"]


def test_members_that_are_one_run_are_run_once(quick, caplog):
    found = planned(*quick, "trainer.devices=1,2", "seed=1,2")
    assert [member.name for member in found.rest] == ["trainer.devices=1 seed=1", "trainer.devices=1 seed=2"]
    assert "2 of 4 members are the same run" in caplog.text


def test_finished_members_are_reused_and_made_again_where_that_is_asked_for(quick):
    first = planned(*quick, "seed=1,2").members[0].folder
    first.mkdir(parents=True)
    (first / "DONE").touch()
    again = planned(*quick, "seed=1,2")
    assert (again.reused, [member.name for member in again.rest]) == ({first}, ["seed=2"])
    assert len(planned(*quick, "seed=1,2", "resume=never").rest) == 2


def test_a_run_that_somebody_works_on_is_left_to_them(quick, monkeypatch):
    first = planned(*quick, "seed=1,2").members[0].folder
    busy = Holder("elsewhere", 7, None, 0, "2026-11-26T00:00:00+00:00")
    monkeypatch.setattr(plan, "holder", lambda folder: busy if folder == first else None)
    found = planned(*quick, "seed=1,2")
    assert (found.elsewhere, [member.name for member in found.rest]) == ({first}, ["seed=2"])


@pytest.mark.parametrize(("state", "left"), [("PENDING", 1), ("RUNNING", 1), (None, 2)])
def test_a_run_that_is_queued_is_not_queued_again(quick, monkeypatch, state, left):
    first = planned(*quick, "seed=1,2").members[0].folder
    slurm.write_ticket(first, "12_0", "sweep")
    monkeypatch.setattr(slurm, "states", lambda ids: {one: state for one in ids if state})
    assert len(planned(*quick, "seed=1,2").rest) == left


def test_shared_stage_1_comes_first_where_members_run_side_by_side(light):
    two = (*light, "method.num_negatives=1,2")
    together = planned(*two, launcher=JOBLIB)
    assert [member.name for member in together.first] == ["stage 1 of method.num_negatives=1"]
    assert together.first[0].folder.parts[-3:-1] == ("coop", "tiny_rn")
    assert "stage=first" in together.first[0].words
    assert {member.first_stage for member in together.rest} == set(folders(together.first))
    assert not planned(*two).first
    assert not planned(*light, launcher=JOBLIB).first


def test_stage_1_that_is_a_member_itself_is_run_as_that(icons, tmp_path):
    words = (
        "trainer=cpu", f"data.root={icons}", "data.num_shots=2", f"paths.runs_dir={tmp_path}", "method=negprompt,coop",
    )  # fmt: skip
    found = planned(*words, launcher=JOBLIB)
    assert [member.name for member in found.first] == ["method=coop"]
    assert [member.name for member in found.rest] == ["method=negprompt"]


def test_how_a_sweep_is_launched_is_not_handed_to_its_members(quick, tmp_path):
    words = (*quick, "sweep=seeds", "launcher=joblib", "launcher.n_jobs=2", f"--config-dir={tmp_path}")
    (first, *_) = planned(*words).members
    assert first.words == (f"--config-dir={tmp_path}", "seed=1", *quick)


def test_members_stand_together_in_wandb_unless_the_user_says_where(quick):
    found = planned(*quick, "seed=1,2", "logger=wandb")
    assert all(f"logger.group={found.folder.name}" in member.words for member in found.members)
    mine = planned(*quick, "seed=1,2", "logger=wandb", "logger.group=mine")
    assert not any(f"logger.group={mine.folder.name}" in member.words for member in mine.members)


def test_a_ticket_is_plain_json(tmp_path):
    slurm.write_ticket(tmp_path, "12_3", "abc")
    assert json.loads((tmp_path / slurm.TICKET).read_text()) == {"job_id": "12_3", "sweep": "abc"}
    assert slurm.ticket(tmp_path) == "12_3"
    assert slurm.ticket(tmp_path / "gone") is None
