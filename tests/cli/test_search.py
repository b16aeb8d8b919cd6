"""`negprompt search`: validation pictures only, trials that are runs, and a search that survives whatever stops it."""

from __future__ import annotations

import csv
import json
import os
import shlex
import shutil
import signal
import sys
import time
from pathlib import Path
from unittest import mock

import miniatures
import pytest
from command_line import ONE_STAGE, call, one_message, processes_with
from forks import SERVER
from warm import Started

from negprompt import api, phases
from negprompt.cli import launch, search, trial
from negprompt.cli.arguments import parse
from negprompt.cli.build import build_request
from negprompt.cli.compose import compositions, plain
from negprompt.cli.paths import options
from negprompt.data.base import VALIDATION_SETS, refuse_test_pictures
from negprompt.errors import ConfigError, NegPromptError
from negprompt.search.study import Study

LIGHT = (
    *(word for word in ONE_STAGE if not word.startswith("data.num_shots")),
    "data.num_shots=1",
    "method=coop",
    "method.optimizer.epochs=1",
    "method.optimizer.min_steps=0",
    "search.trials=3",
)
SPACE = "search.space={method.optimizer.lr: {low: 0.01, high: 1.0, log: true}, method.num_context_tokens: [2, 4]}"
DOCUMENT = Path(__file__).parents[2] / "docs" / "search.md"


@pytest.fixture
def place(icons, tmp_path):
    """Overrides of a search that takes a second, in `tmp_path / "search"`."""
    return (
        *LIGHT,
        SPACE,
        f"data.root={icons}",
        f"paths.runs_dir={tmp_path / 'runs'}",
        f"search.output={tmp_path / 'search'}",
    )


@pytest.fixture
def here(monkeypatch, no_figures):
    """Runs of a search in this process, where they need not load everything anew."""
    monkeypatch.setattr(trial, "run", run_here)
    monkeypatch.setattr(search, "trials_figure", lambda *_: None)


def run_here(words, log):
    """As `trial.run`, in this process."""
    log.parent.mkdir(parents=True, exist_ok=True)
    try:
        finished = api.train(search._composed(words)[1])
    except NegPromptError as error:
        return trial.Ended(1, f"negprompt train: {error}\n")
    return trial.Ended(0, f"written to {finished.folder}\n")


def config(*overrides, command="search"):
    (composed,) = compositions(command, parse(overrides))
    return plain(composed)


def rows(folder):
    """trials.csv without what depends on the clock."""
    with (folder / "trials.csv").open(newline="") as file:
        return [
            {key: value for key, value in row.items() if key not in ("seconds", "runs")} for row in csv.DictReader(file)
        ]


# --- settings ------------------------------------------------------------------------------------------------------


def test_a_search_has_the_settings_of_train_on_validation_pictures():
    mine = config()
    assert mine.pop("search")["metric"] == "auroc"
    assert not mine.pop("search_space", None)
    train = config("data=icons_val", command="train")
    assert mine == {key: train[key] for key in mine}
    assert build_request(mine).data.is_validation
    assert search._DATA == "data=icons_val"


@pytest.mark.parametrize("name", [name for name in options("search_space") if name != "none"])
def test_every_space_that_ships_is_of_settings_that_its_method_has(name, tmp_path, monkeypatch, no_figures):
    words = [f"search_space={name}", f"method={name}", f"paths.runs_dir={tmp_path}"]
    monkeypatch.setattr(sys, "argv", ["negprompt", "search", *words])
    search.check(config(*words))


@pytest.mark.parametrize("data", options("data"))
def test_only_declared_or_validation_sets_may_be_searched_on(data):
    request = build_request(config(f"data={data}", command="train"))  # the OOD sets of the same name
    if data == "icons_val":
        refuse_test_pictures(request.data, request.ood)
    else:
        with pytest.raises(ConfigError, match=f"data={data} has test pictures.*data=icons_val"):
            refuse_test_pictures(request.data, request.ood)


@pytest.mark.parametrize(
    "words",
    [
        "data=openood data.part=val",
        *(
            f"data={kind} data.validation=true ood.validation=true"
            for kind in ("folder", "csv", "imglist", "webdataset")
        ),
        "data=icons data.part=val ood.part=val",
        "data=icons_hard_1 data.part=val ood.part=val",
    ],
)
def test_validation_sets_may_be_searched_on(words):
    request = build_request(config(*words.split(), command="train"))
    refuse_test_pictures(request.data, request.ood)


def test_sets_that_messages_name_are_validation_sets():
    for words in VALIDATION_SETS.replace("pictures of your own with", "data=folder").replace("and ", "").split(", "):
        request = build_request(config(*words.split(), command="train"))
        refuse_test_pictures(request.data, request.ood)


@pytest.mark.parametrize(
    ("words", "fragments"),
    [
        (["data=icons"], ["data=icons has test pictures", "set data.part=val", "data=icons_val"]),
        (["ood=icons"], ["ood=icons has test pictures", "set ood.part=val"]),
        (["search.space={seed: [1, 2]}"], ["search.space.seed", "search.seeds=[1,2,3]"]),
        (
            ["search.space={method.optimizer.lr: [0.1, -1.0]}"],
            ["has -1.0, which a run refuses: method.optimizer.lr=-1.0"],
        ),
        (["search.space=null"], ["search.space is empty"]),
        (["search_space=cop"], ["search_space=cop: unknown", "did you mean 'coop'?"]),
        (["search.score=negprompt"], ["search.score=negprompt: the runs do not have it", "mcm"]),
        (["search.metric=acc"], ["search.metric=acc", "auroc"]),
        (["search.trials=0"], ["search.trials=0: should be greater"]),
        (["search.seeds=[1,1]"], ["search.seeds=[1,1]", "names a seed twice"]),
        (["search.seeds=[]"], ["search.seeds=[]"]),
        (["search.sampler=grid"], ["search.sampler=grid", "random, tpe"]),
        (["search.timeout_min=0"], ["search.timeout_min=0"]),
        (["search.trails=3"], ["unknown setting 'search.trails'", "did you mean 'trials'?"]),
        (["seed=2"], ["set search.seeds=[1,2,3]"]),
        (["--multirun"], ["no --multirun"]),
        (["search.output=/proc/search"], ["Cannot write /proc/search"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) and "=" in value[0] else None,
)
def test_what_is_wrong_is_said_before_anything_runs(negprompt, place, tmp_path, words, fragments):
    given = [word for word in place if not (word == SPACE and words[0].startswith("search.space="))]
    said = negprompt("search", *given, *words)
    one_message(said, 2, *fragments)
    assert not (tmp_path / "runs" / "icons_val").exists()
    assert not (tmp_path / "search").exists()


def test_without_optuna_one_message_says_how_to_get_it(negprompt, place, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    monkeypatch.delitem(sys.modules, "negprompt.search.study")
    one_message(negprompt("search", *place), 2, "needs Optuna", "pip install 'negprompt[search]'")
    assert negprompt("search", "--help").code == 0


@pytest.mark.parametrize(
    "line", [line for line in DOCUMENT.read_text().splitlines() if line.startswith("negprompt search ")]
)
def test_the_commands_of_the_document_are_accepted(line, tmp_path, monkeypatch, no_figures):
    monkeypatch.chdir(tmp_path)
    miniatures.folder(tmp_path / "mine", train=16)
    shutil.copytree(tmp_path / "mine" / "test", tmp_path / "mine" / "val")
    miniatures.ood_folder(tmp_path / "others_val")
    words = shlex.split(line)[2:]
    monkeypatch.setattr(sys, "argv", ["negprompt", "search", *words])
    search.check(config(*words))


# --- what a search leaves ------------------------------------------------------------------------------------------


def test_a_search_tries_what_stands_there_first_and_leaves_its_results(negprompt, here, place, tmp_path):
    said = negprompt("search", *place, "method.optimizer.lr=0.02")
    folder = tmp_path / "search"
    assert said.code == 0, said.err
    told = [line.split()[1] for line in said.out.splitlines() if line.startswith("trial ")]
    assert told[:3] == ["1/3", "2/3", "3/3"]
    assert "method.optimizer.lr=0.02 method.num_context_tokens=4" in said.out.splitlines()[0]
    assert "figures of validation pictures (icons_val)" in said.out
    found = rows(folder)
    values = [float(row["auroc"]) for row in found]
    assert values == sorted(values, reverse=True)
    assert len(list((tmp_path / "runs" / "icons_val" / "coop").rglob("DONE"))) == 3
    assert not list((tmp_path / "runs").rglob("negprompt/*/*/DONE"))
    # best.txt gives the best trial's run again.
    settings = shlex.split((folder / "best.txt").read_text())
    assert settings == [f"{key}={found[0][key]}" for key in ("method.optimizer.lr", "method.num_context_tokens")]
    again = negprompt("train", *(word for word in place if not word.startswith("search.")), "data=icons_val", *settings)
    assert "reused" in again.out
    # the command of the last lines names test pictures, and keeps what else was asked for.
    (line,) = (line for line in said.out.splitlines() if "on test pictures: negprompt train" in line)
    test_words = shlex.split(line.partition("negprompt train ")[2])
    composed = config(*test_words, command="train")
    assert composed["data"]["name"] == "icons"
    assert composed["data"]["num_shots"] == 1
    assert [word for word in test_words if word in settings] == settings


def test_a_value_is_the_mean_over_seeds(negprompt, here, place, tmp_path):
    said = negprompt("search", *place, "search.trials=1", "search.seeds=[1,2]", "search.metric=fpr95_id_positive")
    assert said.code == 0, said.err
    with (tmp_path / "search" / "trials.csv").open(newline="") as file:
        found = list(csv.DictReader(file))
    rates = [
        json.loads(Path(run, "metrics.json").read_text())["scores"]["mcm"]["mean"]["fpr95_id_positive"]
        for run in found[0]["runs"].split()
    ]
    assert len(rates) == 2
    assert float(found[0]["fpr95_id_positive"]) == pytest.approx(sum(rates) / 2)


def test_a_failed_trial_is_named_and_the_search_goes_on(negprompt, here, place, tmp_path):
    # Words for four tokens fit the one choice and not the other, which only a run finds out.
    given = [word for word in place if word != SPACE]
    said = negprompt("search", *given, "method.context_init=words", "search.space={method.num_context_tokens: [2, 4]}")
    assert said.code == 0, said.err
    states = {row["method.num_context_tokens"]: row["state"] for row in rows(tmp_path / "search")}
    assert states == {"2": "failed", "4": "done"}
    assert "failed: seed=1: method.context_words=" in said.out


def test_a_run_that_another_process_has_is_waited_for(negprompt, here, place, monkeypatch):
    answers = [trial.Ended(75, ""), trial.Ended(75, "")]
    monkeypatch.setattr(trial, "run", lambda *words: answers.pop() if answers else run_here(*words))
    monkeypatch.setattr(trial, "BUSY_SECONDS", 0.01)
    said = negprompt("search", *place, "search.trials=1")
    assert said.code == 0, said.err
    assert "trial 1/1  auroc" in said.out


def test_where_every_trial_fails_the_command_does_and_is_one_process_whatever_its_runs_are(
    negprompt, place, monkeypatch
):
    monkeypatch.setattr(launch, "start", lambda *_: pytest.fail("the search was started several times"))
    monkeypatch.setattr(trial, "run", lambda *_: trial.Ended(1, "negprompt train: told\n"))
    one_message(
        negprompt("search", *place, "trainer.devices=2", "search.trials=1"),
        1,
        "none of 1 trials has a value",
        "seed=1: told",
    )


def test_when_the_time_is_over_no_trial_begins(negprompt, here, place):
    said = negprompt("search", *place, "search.timeout_min=0.0001")
    assert said.code == 0, said.err
    assert "trial 1/3" in said.out
    assert "trial 2/3" not in said.out
    assert "search.timeout_min=0.0001 is over; the same command goes on." in said.out


# --- whatever stops it ---------------------------------------------------------------------------------------------


def _killed(words: list[str], where: str) -> None:
    """`negprompt search <words>`, killed in its second trial: within its run, or before its value is kept."""
    calls = [0]

    def at_the_second(function):
        def wrapped(*args, **kwargs):
            calls[0] += 1
            if calls[0] == 2:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*args, **kwargs)

        return wrapped

    places = {
        "within": (phases, "test", at_the_second(phases.test)),
        "after": (Study, "done", at_the_second(Study.done)),
    }
    with (
        mock.patch.object(trial, "run", run_here),
        mock.patch("negprompt.phases.score_histograms"),
        mock.patch.object(*places[where]),
    ):
        call("search", *words)


@pytest.fixture(scope="module")
def undisturbed(icons, tmp_path_factory):
    """Folder of a search that nothing stopped."""
    folder = tmp_path_factory.mktemp("undisturbed")
    with (
        mock.patch.object(trial, "run", run_here),
        mock.patch("negprompt.phases.score_histograms"),
        mock.patch.object(search, "trials_figure"),
    ):
        places = (f"data.root={icons}", f"paths.runs_dir={folder / 'runs'}", f"search.output={folder / 'search'}")
        assert call("search", *LIGHT, SPACE, *places) == 0
    return folder / "search"


@pytest.mark.parametrize("where", ["within", "after"])
def test_a_killed_search_proposes_and_finds_what_an_undisturbed_one_does(
    negprompt, here, place, tmp_path, undisturbed, where
):
    process = SERVER.Process(target=_killed, args=(list(place), where))
    process.start()
    process.join(100)
    assert process.exitcode == -signal.SIGKILL
    assert not (tmp_path / "search" / "trials.csv").exists()
    resumed = negprompt("search", *place)
    assert resumed.code == 0, resumed.err
    assert "trials before: 1" in resumed.out
    assert "trial 2/3" in resumed.out
    assert rows(tmp_path / "search") == rows(undisturbed)
    assert (tmp_path / "search" / "best.txt").read_bytes() == (undisturbed / "best.txt").read_bytes()


def test_equal_searches_do_nothing_larger_ones_go_on_and_others_are_refused(
    negprompt, here, place, tmp_path, undisturbed
):
    shutil.copytree(undisturbed, tmp_path / "search")
    again = negprompt("search", *place)
    assert again.code == 0, again.err
    assert "trial 3/3" not in again.out
    assert not (tmp_path / "runs" / "icons_val").exists()
    assert rows(tmp_path / "search") == rows(undisturbed)
    more = negprompt("search", *place, "search.trials=4")
    assert "trials before: 3" in more.out
    assert "trial 4/4" in more.out
    one_message(negprompt("search", *place, "search.sampler=random"), 2, "differs in search.sampler")


@pytest.mark.slow
def test_ctrl_c_ends_search_and_run_and_the_same_command_goes_on(negprompt, place, tmp_path):
    words = ["search", *place, "search.trials=2"]
    process = Started(*words)
    log = tmp_path / "search" / "logs" / "trial2_seed1.log"
    deadline = time.monotonic() + 200
    while not log.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=100)
    assert process.returncode == 130, err
    assert "trial 1/2" in out
    assert "negprompt search: interrupted" in err
    assert "Traceback" not in err
    deadline = time.monotonic() + 60
    while processes_with(str(tmp_path)) and time.monotonic() < deadline:  # a run that had only just been started
        time.sleep(0.1)
    assert not processes_with(str(tmp_path))
    done = negprompt(*words)
    assert done.code == 0, done.err
    assert "trials before: 1" in done.out
    assert "trial 2/2" in done.out
    assert (tmp_path / "search" / "trials.png").stat().st_size > 0
