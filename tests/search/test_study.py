"""The history of a search: proposals do not depend on interruptions, and a damaged journal says what to do."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from negprompt.errors import ConfigError, RunError
from negprompt.search import space as spaces
from negprompt.search.study import JOURNAL, Study

CONFIG = {"method": {"x": 0.0, "n": 2, "kind": "a"}, "features": {}, "trainer": {}, "score": {}}
SPACE = spaces.parse(
    {"method.x": {"low": -1.0, "high": 1.0}, "method.n": {"low": 1, "high": 4}, "method.kind": ["a", "b", "c"]}, CONFIG
)
TRIALS = 16  # TPE proposes from the history after ten


def opened(folder, *, definition=None, sampler="tpe", seed=1, direction="maximize"):
    return Study.opened(folder, definition or {"a": 1}, SPACE, sampler, seed, direction)


def measure(study, trial):
    """Tell a value that depends on the settings, and no value for some of them."""
    params = trial.params
    if params["method.kind"] == "c":
        study.failed(trial, "it broke", {"seconds": 1})
    else:
        study.done(trial, -((params["method.x"] - 0.3) ** 2) - params["method.n"], {"seconds": 1})


def search(folder, trials=TRIALS, **options):
    with opened(folder, **options) as study:
        while sum(trial.state != "running" for trial in study.trials) < trials:
            measure(study, study.next(None))
        return study.trials


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    return search(tmp_path_factory.mktemp("undisturbed"))


def test_a_search_opened_anew_for_every_trial_proposes_the_same(undisturbed, tmp_path):
    for number in range(1, TRIALS + 1):
        trials = search(tmp_path, number)
    assert trials == undisturbed


def test_the_sampler_learns_from_the_history(undisturbed, tmp_path):
    def early(trial):
        return trial.number < 10

    with opened(tmp_path) as study:
        for trial in undisturbed:
            begun = study.next(None)
            assert not early(trial) or begun.params == trial.params
            study.done(begun, begun.params["method.x"], {})
        assert [trial.params for trial in study.trials[11:]] != [trial.params for trial in undisturbed[11:]]


def test_seed_and_sampler_make_another_search(undisturbed, tmp_path):
    params = [trial.params for trial in undisturbed]
    for options in ({"seed": 2}, {"sampler": "random", "seed": 3}):
        others = [trial.params for trial in search(tmp_path / str(options), **options)]
        assert len({json.dumps(one) for one in others}) > TRIALS / 2
        assert others != params


@pytest.mark.parametrize("lost", [1, 20, 300])
@pytest.mark.parametrize("after", [2, 11])
def test_a_journal_cut_anywhere_goes_on_as_undisturbed(undisturbed, tmp_path, after, lost):
    search(tmp_path, after)
    whole = (tmp_path / JOURNAL).read_bytes()
    (tmp_path / JOURNAL).write_bytes(whole[:-lost])
    assert search(tmp_path) == undisturbed


def test_a_trial_that_a_kill_left_is_the_next_one(undisturbed, tmp_path):
    killed = f"""
import os, signal, sys
sys.path.insert(0, {str(__file__.rpartition("/")[0])!r})
import test_study as here
from pathlib import Path
with here.opened(Path({str(tmp_path)!r})) as study:
    for number in range(12):
        here.measure(study, study.next(None))
    study.next(None)
    os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", killed], capture_output=True, text=True, check=False)
    assert done.returncode == -9, done.stderr
    with opened(tmp_path) as study:
        assert [trial.state for trial in study.trials[11:]] == [undisturbed[11].state, "running"]
        assert study.next(None).params == undisturbed[12].params
        assert len(study.trials) == 13
    assert search(tmp_path) == undisturbed


def test_the_first_trial_can_be_given(tmp_path):
    first = {"method.x": 0.25, "method.n": 3, "method.kind": "b"}
    with opened(tmp_path) as study:
        assert study.next(first).params == first
        study.done(study.next(first), 1.0, {})
        assert study.next(first).params != first


@pytest.mark.parametrize(("direction", "best"), [("maximize", 1), ("minimize", 0)])
def test_the_best_trial_of_equal_ones_is_the_first(tmp_path, direction, best):
    with opened(tmp_path, direction=direction) as study:
        assert study.best is None
        for value in (0.1, 0.9, 0.9, 0.1):
            study.done(study.next(None), value, {})
        study.failed(study.next(None), "it broke", {})
        assert study.best.number == best
        assert study.trials[4].error == "it broke"


def test_two_searches_at_once_in_one_folder_are_refused(tmp_path):
    with opened(tmp_path), pytest.raises(RunError, match=r"Another process searches in .*search\.output=<folder>"):
        opened(tmp_path).__enter__()
    with opened(tmp_path) as study:
        assert study.trials == []


def test_a_folder_of_another_search_is_refused_with_what_differs(tmp_path):
    search(tmp_path, 1, definition={"a": 1, "b": [1]})
    with pytest.raises(ConfigError, match=r"differs in b: set another search\.output"):
        opened(tmp_path, definition={"a": 1, "b": [2]}).__enter__()


def test_a_journal_damaged_in_the_middle_says_how_to_go_on(tmp_path):
    search(tmp_path, 2)
    lines = (tmp_path / JOURNAL).read_bytes().splitlines(keepends=True)
    lines[2] = lines[2][:30] + b"\n"
    (tmp_path / JOURNAL).write_bytes(b"".join(lines))
    with pytest.raises(RunError, match=r"journal\.log is damaged .*: delete it"):
        opened(tmp_path).__enter__()


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"Cannot write .*search\.output"):
        opened(tmp_path / "file" / "search").__enter__()
