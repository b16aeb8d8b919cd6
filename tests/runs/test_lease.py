"""One process at a time works in a run folder: races, deaths, suspended owners, and jobs that Slurm queues again."""

from __future__ import annotations

import contextlib
import errno
import json
import multiprocessing
import os
import signal
import stat
import sys
import time
from pathlib import Path

import pytest

from negprompt.errors import RunBusyError, RunError
from negprompt.runs import lease as leases
from negprompt.runs import owner as owners
from negprompt.runs.lease import holder, lease

FORK = multiprocessing.get_context("fork")
SLURM = ("SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID", "SLURM_JOB_ID", "SLURM_RESTART_COUNT", "SLURM_CLUSTER_NAME")


@pytest.fixture(autouse=True)
def no_cluster(monkeypatch):
    for name in SLURM:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "coop" / "seed1-01234567"
    path.mkdir(parents=True)
    return path


def place(folder):
    return folder.with_name(f".{folder.name}.lease")


def record(folder):
    (path,) = place(folder).glob("*.json")
    return path, json.loads(path.read_text())


def change(folder, **changes):
    """Make the lease another's, of other circumstances."""
    path, content = record(folder)
    path.write_text(json.dumps({**content, **changes}))
    return path


def elsewhere(folder, **changes):
    """Leave a lease behind, made on another machine."""
    with lease(folder):
        path, content = record(folder)
    path.parent.mkdir()
    path.write_text(json.dumps({**content, "machine": "other", "host": "node7", **changes}))
    return path


def aged(path, seconds):
    then = time.time() - seconds
    os.utime(path, (then, then))


@pytest.fixture
def child():
    """Start processes that hold a lease; whatever happens, they end."""
    started = []

    def start(work, *args):
        pipe, theirs = FORK.Pipe()
        process = FORK.Process(target=work, args=(theirs, *args))
        process.start()
        started.append(process)
        return process, pipe

    yield start
    for process in started:
        if process.is_alive():
            os.kill(process.pid, signal.SIGKILL)
        process.join(10)


def hold(pipe, folder, expiry=leases.EXPIRY_S, heartbeat=leases.HEARTBEAT_S):
    """Hold the folder until told to write; then say whether that was allowed."""
    with lease(folder, expiry=expiry, heartbeat=heartbeat) as held:
        pipe.send("held")
        pipe.recv()
        try:
            held.check()
            pipe.send("wrote")
        except RunError as error:
            pipe.send(str(error))


# --- one at a time -------------------------------------------------------------------------------------------------


def race(pipe, folder, rounds, in_use):
    """Take the folder again and again; count how often, and when somebody else was there too."""
    won = clashes = 0
    pipe.recv()
    for _ in range(rounds):
        try:
            with lease(folder, heartbeat=60):
                try:
                    os.close(os.open(in_use, os.O_CREAT | os.O_EXCL))
                    won += 1
                    time.sleep(0.001)
                    in_use.unlink()
                except FileExistsError:
                    clashes += 1
        except RunBusyError:
            pass
    pipe.send((won, clashes))


@pytest.mark.parametrize("links", [True, False], ids=["hard links", "no hard links"])
def test_of_processes_that_race_for_a_folder_one_has_it(child, folder, tmp_path, monkeypatch, links):
    if not links:
        monkeypatch.setattr(os, "link", refused)
    processes = [child(race, folder, 60, tmp_path / "in_use") for _ in range(6)]
    for _, pipe in processes:
        pipe.send("go")
    won, clashes = zip(*(pipe.recv() for _, pipe in processes), strict=True)
    assert sum(clashes) == 0
    assert sum(won) >= 60
    assert holder(folder) is None


def take_over(pipe, folder):
    pipe.send("ready")
    pipe.recv()
    try:
        with lease(folder):
            pipe.send(True)
            pipe.recv()
    except RunBusyError:
        pipe.send(False)


def refused(*_):
    raise OSError(errno.EPERM, "Operation not permitted")


def test_one_of_many_takes_a_dead_owners_folder_over(child, folder):
    for _ in range(8):
        dead, pipe = child(hold, folder)
        pipe.recv()
        rivals = [child(take_over, folder) for _ in range(5)]
        for _, theirs in rivals:
            theirs.recv()
        os.kill(dead.pid, signal.SIGKILL)
        dead.join()
        for _, theirs in rivals:
            theirs.send("go")
        assert sorted(theirs.recv() for _, theirs in rivals) == [False] * 4 + [True]
        for process, theirs in rivals:
            with contextlib.suppress(BrokenPipeError):
                theirs.send("enough")
            process.join()


def test_who_looked_long_ago_does_not_take_a_number_that_was_used_meanwhile(folder, monkeypatch):
    path = elsewhere(folder)
    path.rename(path.with_name("3.json"))
    looks, look = [], leases._present

    def outdated_at_first(*args):
        looks.append(1)
        return None if len(looks) == 1 else look(*args)

    monkeypatch.setattr(leases, "_present", outdated_at_first)
    with pytest.raises(RunBusyError, match="node7"), lease(folder):
        pass
    assert [entry.name for entry in place(folder).iterdir()] == ["3.json"]


def test_who_asked_slurm_for_long_leaves_those_alone_that_came_meanwhile(child, folder, job, squeue, monkeypatch):
    """The first takeover is over, and numbers begin at 1 again: the slow one's is higher than that of who works now."""
    job(0)
    aged(elsewhere(folder), 60)
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "4")
    asked, answer = folder.parent / "asked", folder.parent / "answer"
    squeue(f"touch {asked}; while [ ! -e {answer} ]; do sleep 0.02; done")
    _, slow = child(take_over, folder)
    slow.recv()
    slow.send("go")
    while not asked.exists():
        time.sleep(0.02)
    with lease(folder, expiry=1.0):
        pass
    with lease(folder) as held:
        answer.touch()
        assert slow.recv() is False
        held.check()
        assert record(folder)[0].name == "1.json"


def test_a_second_one_is_told_who_holds_the_folder_and_leaves_no_trace(child, folder):
    process, pipe = child(hold, folder)
    pipe.recv()
    before = sorted(place(folder).iterdir())
    with pytest.raises(RunBusyError, match=rf"process {process.pid} on .*, since .*Wait for it"), lease(folder):
        pass
    assert sorted(place(folder).iterdir()) == before
    assert holder(folder).pid == process.pid
    assert not list(folder.iterdir())


def test_it_is_given_back_at_the_end_also_after_an_error(folder):
    with pytest.raises(ZeroDivisionError), lease(folder):
        raise ZeroDivisionError
    assert not place(folder).exists()
    assert holder(folder) is None
    with lease(folder):
        pass


def test_a_killed_owner_that_nobody_has_waited_for_is_dead(child, folder):
    process, pipe = child(hold, folder)
    pipe.recv()
    os.kill(process.pid, signal.SIGKILL)
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert holder(folder) is None
    with lease(folder) as held:
        held.check()


def test_another_process_with_the_dead_owners_number_is_not_the_owner(folder):
    with lease(folder):
        path, content = record(folder)
    path.parent.mkdir()
    path.write_text(json.dumps({**content, "pid": os.getpid(), "process_start": "1"}))
    with lease(folder):
        assert holder(folder).pid == os.getpid()


# --- signs of life -------------------------------------------------------------------------------------------------


def test_an_owner_elsewhere_is_alive_until_its_heart_has_not_beaten_for_long(folder):
    path = elsewhere(folder)
    aged(path, leases.EXPIRY_S - 30)
    assert holder(folder).host == "node7"
    with pytest.raises(RunBusyError), lease(folder):
        pass
    aged(path, leases.EXPIRY_S + 30)
    assert holder(folder) is None
    with lease(folder) as held:
        held.check()


def test_an_owner_gives_signs_of_life(folder):
    with lease(folder, heartbeat=0.05):
        path, _ = record(folder)
        aged(path, 1000)
        deadline = time.monotonic() + 10
        while time.time() - path.stat().st_mtime > 100:
            assert time.monotonic() < deadline
            time.sleep(0.02)


def test_signs_of_life_go_on_after_a_hiccup_of_the_file_server(folder):
    with lease(folder, heartbeat=0.05):
        path, _ = record(folder)
        path.rename(path.with_name("gone"))
        time.sleep(0.3)
        path.with_name("gone").rename(path)
        aged(path, 1000)
        deadline = time.monotonic() + 10
        while time.time() - path.stat().st_mtime > 100:
            assert time.monotonic() < deadline
            time.sleep(0.02)


def test_ages_are_read_from_the_file_servers_clock(folder, monkeypatch):
    elsewhere(folder)
    monkeypatch.setattr(time, "time", lambda: 4e9)
    assert holder(folder) is not None


def test_half_a_lease_is_waited_for(folder):
    place(folder).mkdir()
    (place(folder) / "1.json").write_text('{"key": ')
    with pytest.raises(RunBusyError, match="another process"), lease(folder):
        pass
    aged(place(folder) / "1.json", 400)
    with lease(folder):
        pass


# --- lost ----------------------------------------------------------------------------------------------------------


def test_a_suspended_owner_notices_after_it_wakes_up_that_it_was_replaced(child, folder):
    process, pipe = child(hold, folder, 1.0, 0.1)
    pipe.recv()
    os.kill(process.pid, signal.SIGSTOP)
    time.sleep(1.3)
    with lease(folder, expiry=1.0) as held:
        os.kill(process.pid, signal.SIGCONT)
        pipe.send("write")
        assert "was taken over by another process" in pipe.recv()
        process.join(10)
        held.check()
    assert not place(folder).exists()


def test_an_owner_whose_successor_is_done_and_gone_has_lost_too(folder):
    with lease(folder) as held:
        path, _ = record(folder)
        aged(path, 400)
        with lease(folder), lease(folder.with_name("other")):
            pass
        with lease(folder), pytest.raises(RunError, match="taken over"):  # its file has the number of the first one
            held.check()
        with pytest.raises(RunError, match="taken over"):
            held.check()


def test_a_successor_that_has_not_removed_the_old_lease_yet_counts(folder):
    with lease(folder) as held:
        path, content = record(folder)
        path.with_name("2.json").write_text(json.dumps({**content, "key": "another"}))
        with pytest.raises(RunError, match="taken over"):
            held.check()


def test_a_file_server_that_does_not_answer_is_not_called_another_process(folder, monkeypatch):
    def refuse(_):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with lease(folder) as held:
        with monkeypatch.context() as patch:
            patch.setattr(leases, "_read", refuse)
            with pytest.raises(RunError, match="Input/output error"):
                held.check()
        held.check()


def test_a_folder_that_was_removed_is_named(folder):
    with lease(folder) as held:
        folder.rmdir()
        with pytest.raises(RunError, match="was removed while the run worked in it"):
            held.check()


# --- Slurm ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def job(monkeypatch):
    """`job(restart)`: this process is task 3 of array job 40, queued again that often."""

    def be(restart):
        monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "40")
        monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
        monkeypatch.setenv("SLURM_JOB_ID", "44")
        monkeypatch.setenv("SLURM_CLUSTER_NAME", "c1")
        monkeypatch.setenv("SLURM_RESTART_COUNT", str(restart))

    return be


def test_a_job_that_was_queued_again_takes_its_folder_back_at_once(folder, job):
    job(1)
    elsewhere(folder)
    assert holder(folder).job_id == "40_3" if holder(folder) else True
    with pytest.raises(RunBusyError, match=r"on node7 \(Slurm job 40_3\)"), lease(folder):
        pass
    job(2)
    with lease(folder) as held:
        held.check()
        assert record(folder)[1]["restart"] == 2


def test_a_job_of_the_same_number_on_another_cluster_is_another(folder, job):
    job(0)
    elsewhere(folder, cluster="c2")
    job(1)
    with pytest.raises(RunBusyError), lease(folder):
        pass


@pytest.fixture
def squeue(monkeypatch, tmp_path):
    """`squeue(script)`: a program of that name that does this."""

    def be(script):
        path = tmp_path / "bin" / "squeue"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", f"{path.parent}:{os.environ['PATH']}")

    return be


ANSWERS = {
    "runs": ("echo RUNNING", True),
    "ends": ("echo COMPLETING", True),
    "queued again": ("echo PENDING", False),
    "over": ("true", False),
    "forgotten": ("echo slurm_load_jobs error: Invalid job id specified >&2; exit 1", False),
    "no answer": ("echo Unable to contact slurm controller >&2; exit 1", True),
}


@pytest.mark.parametrize(("script", "lives"), ANSWERS.values(), ids=ANSWERS)
def test_a_silent_owner_is_as_alive_as_slurm_says_its_job_is(folder, job, squeue, script, lives, monkeypatch):
    job(0)
    path = elsewhere(folder)
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "4")
    squeue(script)
    assert holder(folder) is not None  # it has just given a sign of life
    aged(path, 60)
    assert (holder(folder) is not None) == lives
    monkeypatch.setenv("SLURM_CLUSTER_NAME", "c2")  # whose queue knows nothing of the job
    assert holder(folder) is not None


# --- disks ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [errno.EROFS, errno.ENOSPC])
def test_a_place_that_cannot_be_written_is_named(folder, monkeypatch, code):
    def refuse(*_, **__):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(RunError, match=rf"Cannot write {folder}: .*paths\.runs_dir"), lease(folder):
        pass


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's word on processes is Linux's")
def test_this_process_is_known_as_running_and_an_ended_one_as_ended(child):
    process, pipe = child(lambda pipe: pipe.recv())
    start = owners._process_start(process.pid)
    assert owners._runs(process.pid, start)
    pipe.send("end")
    process.join()
    assert not owners._runs(process.pid, start)
    assert not owners._runs(process.pid, None)
