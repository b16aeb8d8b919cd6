"""Members forked from a process that has imported everything: the same runs, the same ends, a cheaper start."""

from __future__ import annotations

import json
import os
import select as selecting
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from negprompt.cli.sweep import children
from negprompt.cli.sweep.nursery import opened

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has them")

HELP = ["data", "list"]


@pytest.fixture(scope="module")
def awaited():
    """A nursery that two jobs have waited for, as joblib's threads do, and these jobs."""
    select, both = selecting.select, threading.Barrier(2)

    def select_together(*arguments):
        if (found := select(*arguments))[0]:
            both.wait(30)
        return found

    with pytest.MonkeyPatch.context() as patch, opened(environment()) as opened_one:
        assert opened_one is not None
        patch.setattr(selecting, "select", select_together)
        jobs = [threading.Thread(target=opened_one.wait, args=[lambda: False], daemon=True) for _ in range(2)]
        for job in jobs:
            job.start()
        for job in jobs:
            job.join(120)
        patch.undo()
        yield opened_one, jobs


@pytest.fixture(scope="module")
def nursery(awaited):
    return awaited[0]


def environment(**changes):
    """What members get, the same in every test."""
    variables = children.variables({"GOMP_SPINCOUNT": "10000", **changes})
    return {name: value for name, value in variables.items() if name != "PYTEST_CURRENT_TEST"}


def ended(member, seconds=60):
    deadline = time.monotonic() + seconds
    while member.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    return member.returncode


def said(nursery, tmp_path, words, **changes):
    """Exit code and output of a member."""
    with (tmp_path / "said").open("wb") as output:
        member = nursery.spawn(words, environment(**changes), output, own_session=True)
        assert member is not None
        code = ended(member)
    return code, (tmp_path / "said").read_text()


def test_a_member_says_and_ends_as_the_command_does(nursery, tmp_path):
    for words in (["--version"], ["train", "method=nonsense"]):
        plain = subprocess.run(
            [*children.python(), *words], env=environment(), capture_output=True, text=True, check=False
        )
        assert said(nursery, tmp_path, words) == (plain.returncode, plain.stdout + plain.stderr)


def test_it_has_its_own_gpus_folder_and_session(nursery, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with (tmp_path / "said").open("wb") as output:
        member = nursery.spawn(["doctor"], environment(CUDA_VISIBLE_DEVICES="7"), output, own_session=True)
        assert member is not None
        folder = Path(f"/proc/{member.pid}/cwd")
        deadline = time.monotonic() + 10
        while folder.resolve() != tmp_path and time.monotonic() < deadline:  # it has only just been forked
            time.sleep(0.01)
        assert folder.resolve() == tmp_path
        assert os.getsid(member.pid) == member.pid
        shown = Path(f"/proc/{member.pid}/cmdline").read_bytes().rstrip(b"\0").split(b"\0")
        assert shown[1:] == [b"-m", b"negprompt", b"doctor"]
        member.kill()
        assert ended(member) == -signal.SIGKILL


def test_jobs_that_start_together_all_hear_that_it_is_ready(awaited):
    assert [job.is_alive() for job in awaited[1]] == [False, False]


def test_another_environment_is_left_to_an_ordinary_start(nursery):
    assert nursery.spawn(HELP, environment(OMP_NUM_THREADS="3"), None, own_session=True) is None


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_a_member_that_has_only_just_been_forked_is_not_lost(nursery, tmp_path, number):
    for _ in range(5):
        with (tmp_path / "said").open("wb") as output:
            member = nursery.spawn(["doctor"], environment(), output, own_session=True)
            assert member is not None
            member.send_signal(number)
            assert ended(member) in (128 + number, -number)


def test_one_answer_serves_all_who_ask(nursery, tmp_path):
    with (tmp_path / "said").open("wb") as output:
        member = nursery.spawn(["--version"], environment(), output, own_session=True)
    assert member is not None
    answers = []
    asking = [threading.Thread(target=lambda: answers.append(ended(member))) for _ in range(8)]
    for one in asking:
        one.start()
    for one in asking:
        one.join()
    assert answers == [0] * 8
    member.send_signal(signal.SIGTERM)  # nobody is there any more


def test_a_nursery_that_nobody_waits_for_ends_at_once(capfd):
    begun = time.monotonic()
    with opened(environment()):
        pass
    assert time.monotonic() - begun < 5
    assert not capfd.readouterr().err


def test_imports_ask_for_no_gpu():
    """A process that asked could not fork members that use one."""
    program = (
        "import importlib, torch\n"
        "def asked(*_, **__): raise SystemExit('asked for a GPU')\n"
        "for name in ('_cuda_getDeviceCount', '_cuda_init', '_cuda_isInBadFork'):\n"
        "    if hasattr(torch._C, name): setattr(torch._C, name, asked)\n"
        "from negprompt.cli.sweep import nursery\n"
        "for name in nursery._HEAVY: importlib.import_module(name)\n"
        "assert not torch.cuda.is_initialized()\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_members_end_with_the_process_that_wanted_them(icons, tmp_path):
    """SIGKILL of the sweep: nursery and guardian die at once, the member gets SIGTERM, saves and leaves with a word."""
    words = [
        "train", "method=coop", "trainer=cpu", "trainer.progress_bar=false", f"data.root={icons}", "data.num_shots=1",
        "method.optimizer.epochs=100000", f"paths.runs_dir={tmp_path / 'runs'}",
    ]  # fmt: skip
    program = (
        "import json, sys, time\n"
        "from negprompt.cli.sweep import children\n"
        "from negprompt.cli.sweep.nursery import opened\n"
        "with opened(children.variables({})) as nursery:\n"
        "    nursery.wait(given_up=lambda: False)\n"
        "    words, said = json.loads(sys.argv[1]), open(sys.argv[2], 'wb')\n"
        "    member = nursery.spawn(words, children.variables({}), said, own_session=True)\n"
        "    print(nursery._process.pid, member.pid, flush=True)\n"
        "    time.sleep(600)\n"
    )
    command = [sys.executable, "-c", program, json.dumps(words), str(tmp_path / "said")]
    leader = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert leader.stdout is not None
    pids = [int(word) for word in leader.stdout.readline().split()]
    deadline = time.monotonic() + 120
    while not list(tmp_path.rglob("last.ckpt")) and time.monotonic() < deadline:
        time.sleep(0.1)
    leader.kill()
    leader.wait()
    deadline = time.monotonic() + 60
    while any(alive(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(alive(pid) for pid in pids)
    assert "stopped by SIGTERM" in (tmp_path / "said").read_text()


def alive(pid):
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def test_a_nursery_that_cannot_start_is_done_without(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "torch.py").write_text("raise ImportError('broken')")
    with opened(children.variables({})) as nursery:
        assert nursery is not None
        nursery.wait(given_up=lambda: False)
        assert nursery.spawn(HELP, children.variables({}), None, own_session=True) is None
