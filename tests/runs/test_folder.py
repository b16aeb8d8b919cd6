"""Run folders: equal requests share a name, files are whole or absent, and every failure says what to do."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import json
import os
import platform
import signal
import subprocess
import sys

import pytest

from negprompt.errors import ConfigError, RunError
from negprompt.runs.finished import find_run
from negprompt.runs.folder import RunFolder, atomic_write, request_hash, run_name

HASH = "0123456789abcdef"


@pytest.fixture
def folder(tmp_path):
    return RunFolder(tmp_path / "run").create()


@pytest.fixture
def finished(folder):
    folder.write_bytes("config.yaml", b"seed: 1\n")
    folder.write_json("metrics.json", {"schema": 1})
    folder.mark_done()
    return folder


@pytest.fixture
def full_disk(monkeypatch):
    def fsync(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fsync)


def names(folder):
    return sorted(entry.name for entry in folder.path.iterdir())


# --- names ---------------------------------------------------------------------------------------------------------


def test_the_hash_is_the_sha256_of_sorted_compact_json():
    expected = hashlib.sha256(b'{"a":[1,0.1,null,true],"b":{"c":"d"}}').hexdigest()
    assert request_hash({"b": {"c": "d"}, "a": (1, 0.1, None, True)}) == expected


def test_the_order_of_keys_does_not_count_and_every_value_does():
    request = {"seed": 0, "lr": 0.002, "method": {"name": "coop", "num_context_tokens": 4}}
    assert request_hash(dict(reversed(request.items()))) == request_hash(request)
    others = [{**request, "seed": 1}, {**request, "lr": 0.0020000000000000005}, {**request, "seed": None}]
    assert len({request_hash(other) for other in [request, *others]}) == 4


def test_the_hash_is_the_same_in_another_process():
    code = "from negprompt.runs.folder import request_hash; print(request_hash({'b': 0.1, 'a': 'x'}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == request_hash({"a": "x", "b": 0.1})


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        ({"optim": {"lr": float("nan")}}, r"request\.optim\.lr is nan"),
        ({"optim": {"betas": [0.9, float("inf")]}}, r"request\.optim\.betas\[1\] is inf"),
        ({"classes": {"cat"}}, r"request\.classes is \{'cat'\} \(set\)"),
        ({1: 2}, r"key 1 \(int\) is not text"),
    ],
)
def test_what_json_cannot_hold_is_refused_by_the_name_of_its_key(payload, message):
    with pytest.raises(ConfigError, match=message):
        request_hash(payload)


def test_a_run_is_named_by_what_it_is_and_eight_digits():
    assert run_name("icons_hard_1", "negprompt", "vit_b16-laion2b", 0, HASH) == (
        "icons_hard_1/negprompt/vit_b16-laion2b/seed0-01234567"
    )


@pytest.mark.parametrize("name", ["ViT-B/16", "", "..", ".hidden", "two words"])
def test_a_name_that_would_leave_its_folder_is_refused(name):
    with pytest.raises(ConfigError, match="backbone's name"):
        run_name("icons", "coop", name, 1, HASH)


def test_a_hash_too_short_to_tell_runs_apart_is_refused():
    with pytest.raises(ConfigError, match="not a request hash"):
        run_name("icons", "coop", "tiny_rn", 1, "abc")


# --- writing -------------------------------------------------------------------------------------------------------


def test_json_keeps_the_order_of_keys_and_ends_with_a_line_break(folder):
    folder.write_json("metrics.json", {"schema": 1, "b": [0.1], "a": "σ"})
    text = (folder.path / "metrics.json").read_text(encoding="utf-8")
    assert text == '{\n "schema": 1,\n "b": [\n  0.1\n ],\n "a": "σ"\n}\n'


@pytest.mark.parametrize("value", [float("nan"), float("-inf"), b"bytes", {1: 2}])
def test_json_that_no_reader_would_accept_is_refused_and_the_old_file_stays(folder, value):
    folder.write_json("metrics.json", {"auroc": 0.5})
    with pytest.raises(RunError, match=r"metrics\.json"):
        folder.write_json("metrics.json", {"auroc": value})
    assert json.loads((folder.path / "metrics.json").read_text()) == {"auroc": 0.5}
    assert names(folder) == ["metrics.json"]


def test_files_in_sub_folders_need_no_preparation(folder):
    folder.write_bytes("checkpoints/last.ckpt", b"state")
    assert (folder.path / "checkpoints" / "last.ckpt").read_bytes() == b"state"


def test_a_new_file_gets_the_rights_that_the_user_asked_for(tmp_path):
    (tmp_path / "plain").write_bytes(b"")
    atomic_write(tmp_path / "atomic", b"")
    assert (tmp_path / "atomic").stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize("error", [ValueError("half way"), KeyboardInterrupt()])
def test_a_writer_that_fails_half_way_changes_nothing(folder, error):
    folder.write_bytes("scores.npz", b"old")

    def writer(file):
        file.write(b"new")
        raise error

    with pytest.raises(type(error)):
        atomic_write(folder.path / "scores.npz", writer)
    assert (folder.path / "scores.npz").read_bytes() == b"old"
    assert names(folder) == ["scores.npz"]


def test_a_full_disk_names_the_file_and_the_setting_and_leaves_the_old_content(folder, request):
    folder.write_bytes("scores.npz", b"old")
    request.getfixturevalue("full_disk")
    with pytest.raises(RunError, match=r"scores\.npz: the disk is full.*paths\.runs_dir="):
        folder.write_bytes("scores.npz", b"new")
    assert (folder.path / "scores.npz").read_bytes() == b"old"
    assert names(folder) == ["scores.npz"]


def test_a_process_killed_while_writing_leaves_the_old_content(folder):
    folder.write_bytes("last.ckpt", b"old" * 1000)
    code = f"""
import pathlib, sys, time
from negprompt.runs.folder import atomic_write

def writer(file):
    file.write(b"new" * 100_000)
    file.flush()
    print("half", flush=True)
    time.sleep(60)

atomic_write(pathlib.Path({str(folder.path)!r}) / "last.ckpt", writer)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout.readline() == "half\n"
        child.kill()
    assert child.returncode == -signal.SIGKILL
    assert (folder.path / "last.ckpt").read_bytes() == b"old" * 1000
    folder.write_bytes("last.ckpt", b"next")
    assert (folder.path / "last.ckpt").read_bytes() == b"next"


def test_a_kill_at_any_moment_leaves_a_whole_file(tmp_path):
    code = f"""
import itertools, pathlib
from negprompt.runs.folder import atomic_write

for turn in itertools.count():
    atomic_write(pathlib.Path({str(tmp_path)!r}) / "state", bytes([turn % 256]) * 300_000)
    print(turn, flush=True)
"""
    for turns in (1, 3, 8):
        with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as child:
            for _ in range(turns):
                child.stdout.readline()
            child.kill()
        content = (tmp_path / "state").read_bytes()
        assert len(content) == 300_000
        assert len(set(content)) == 1


# --- a folder that cannot be used ----------------------------------------------------------------------------------


def test_a_run_below_a_regular_file_is_refused_with_the_setting_to_change(tmp_path):
    (tmp_path / "runs").write_text("not a folder")
    with pytest.raises(RunError, match=r"runs/a: a part of the path is a file.*paths\.runs_dir="):
        RunFolder(tmp_path / "runs" / "a").create()


def test_a_file_in_the_folder_s_place_is_refused(tmp_path):
    (tmp_path / "run").write_text("not a folder")
    with pytest.raises(RunError, match=r"run: a file with the folder's name is in the way"):
        RunFolder(tmp_path / "run").create()


def test_a_read_only_folder_is_refused_before_anything_is_computed(tmp_path):
    tmp_path.chmod(0o500)
    if os.access(tmp_path, os.W_OK):
        pytest.skip("root may write to a read-only folder")
    for path in (tmp_path, tmp_path / "new"):
        with pytest.raises(RunError, match=r"no permission to write there.*paths\.runs_dir="):
            RunFolder(path).create()
    tmp_path.chmod(0o700)


def test_creating_twice_keeps_what_is_there_and_leaves_no_trace(finished):
    before = names(finished)
    finished.create()
    assert names(finished) == before
    assert finished.is_done


# --- done and failed -----------------------------------------------------------------------------------------------


def test_a_folder_is_done_only_when_marked(folder):
    folder.write_json("metrics.json", {})
    assert not folder.is_done
    folder.mark_done()
    assert folder.is_done


def test_a_failure_is_kept_until_success(folder):
    for attempt in (1, 2):
        folder.mark_failed("evaluation", ValueError("scores hold NaN"), "negprompt train seed=2")
        failure = json.loads((folder.path / "FAILED.json").read_text())
        assert failure.pop("time").endswith("+00:00")
        assert failure.pop("host") == platform.node()
        assert failure == {
            "stage": "evaluation",
            "error": "ValueError",
            "message": "scores hold NaN",
            "command": "negprompt train seed=2",
            "attempt": attempt,
        }
    assert not folder.is_done
    folder.mark_done()
    assert names(folder) == ["DONE"]


def test_what_a_killed_attempt_has_half_written_is_removed(folder):
    folder.write_bytes("metrics.csv", b"whole")
    for half in (".metrics.csv.0123abcd.tmp", "checkpoints/.last.ckpt.0123abcd.tmp"):
        (folder.path / half).parent.mkdir(exist_ok=True)
        (folder.path / half).write_bytes(b"half")
    folder.remove_unfinished_files()
    assert [path.name for path in folder.path.rglob("*") if path.is_file()] == ["metrics.csv"]


def test_nothing_is_written_or_removed_where_it_must_not(finished):
    def refuse():
        raise RunError("taken over")

    guarded = dataclasses.replace(finished, before_write=refuse)
    before = names(finished)
    for write in (
        guarded.mark_done,
        lambda: guarded.mark_failed("x", ValueError()),
        lambda: guarded.write_json("a", {}),
    ):
        with pytest.raises(RunError, match="taken over"):
            write()
    assert names(finished) == before


def test_done_is_not_written_on_a_full_disk(folder, request):
    request.getfixturevalue("full_disk")
    with pytest.raises(RunError, match="disk is full"):
        folder.mark_done()
    assert names(folder) == []


# --- finding -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("inside", ["", "metrics.json", "checkpoints/last.ckpt"])
def test_a_run_is_found_by_its_folder_or_a_file_in_it(finished, inside):
    finished.write_bytes("checkpoints/last.ckpt", b"")
    assert find_run(finished.path / inside) == finished
    assert find_run(str(finished.path / inside)) == finished


def test_a_wrong_name_draws_the_nearest_one(finished):
    with pytest.raises(RunError, match=r"no run at .*rum; in .*did you mean 'run'"):
        find_run(finished.path.with_name("rum"))


def test_a_folder_of_runs_draws_a_choice(finished):
    with pytest.raises(RunError, match=r"not a run but holds some: choose one of .*/run\."):
        find_run(finished.path.parent)


def test_a_folder_without_any_run_is_named(tmp_path):
    with pytest.raises(RunError, match="not a run folder"):
        find_run(tmp_path)


def test_an_unfinished_run_says_that_done_is_missing(folder):
    folder.write_bytes("config.yaml", b"seed: 1\n")
    with pytest.raises(RunError, match="not finished: DONE is missing"):
        find_run(folder.path)


def test_a_failed_run_says_in_which_stage_and_why(folder):
    folder.mark_failed("stage 2", FloatingPointError("loss is NaN."))
    with pytest.raises(RunError, match=r"failed in stage 2: loss is NaN\."):
        find_run(folder.path)


def test_a_damaged_failure_note_does_not_hide_the_state(folder):
    folder.write_bytes("FAILED.json", b"[")
    with pytest.raises(RunError, match="not finished"):
        find_run(folder.path)


def test_a_finished_run_that_lost_a_file_says_which(finished):
    (finished.path / "metrics.json").unlink()
    with pytest.raises(RunError, match=r"lacks metrics\.json"):
        find_run(finished.path)
