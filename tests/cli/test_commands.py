"""Commands that go well: usage, help, settings shown, evaluate, report, sweeps and completion."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import yaml
from command_line import results

import negprompt as package
from negprompt.backbones.openclip import OpenClipBackbone
from negprompt.cli.main import COMMANDS
from negprompt.runs.finished import find_run

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("no_figures")]


@pytest.fixture(autouse=True)
def _own_store(tmp_path_factory, monkeypatch):
    """`evaluate` of a run elsewhere reads and fills the store of its own paths, not one in the folder of the tests."""
    monkeypatch.setenv("NEGPROMPT_FEATURES", str(tmp_path_factory.mktemp("features")))


def run_folder(runs_dir, method):
    (done,) = runs_dir.rglob(f"{method}/*/*/DONE")
    return done.parent


# --- usage ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [(), ("--help",), ("-h",), ("help",)])
def test_usage_lists_every_command_with_an_example(negprompt, words):
    said = negprompt(*words)
    assert (said.code, said.err) == (0, "")
    for name, command in COMMANDS.items():
        assert f"  {name}" in said.out
        assert command.example in said.out


def test_the_version(negprompt):
    assert negprompt("--version").out.strip() == package.__version__


@pytest.mark.parametrize(
    ("word", "nearest"), [("trainn", "train"), ("eval", "evaluate"), ("reports", "report"), ("--multirun", None)]
)
def test_an_unknown_command_is_answered_with_the_nearest(negprompt, word, nearest):
    said = negprompt(word, "seed=1")
    (line,) = said.messages or [said.err.strip()]
    assert said.code == 2
    assert f"unknown command '{word}'" in line
    assert nearest is None or f"did you mean '{nearest}'?" in line
    assert "evaluate, export, extract, fetch, import, predict, report, search, train" in line


def test_python_m_negprompt_is_the_same_command():
    words = [sys.executable, "-m", "negprompt", "trainn"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "did you mean 'train'?" in done.stderr


@pytest.mark.parametrize("command", ["train", "search", "evaluate", "extract", "data verify", "report"])
def test_help_shows_examples_and_settings(negprompt, command):
    said = negprompt(*command.split(), "--help")
    assert (said.code, said.err) == (0, "")
    assert f"negprompt {command} " in said.out
    assert "Settings (change with key=value):" in said.out


def test_help_lists_the_groups(negprompt):
    groups = negprompt("train", "--help").out
    assert "backbone: open_clip, rn101_openai" in groups
    assert "method: clipn, coop, locoop, negprompt, " in groups


@pytest.mark.parametrize(
    "flags", [("--cfg", "job", "--resolve"), ("-c", "job", "--resolve"), ("--resolve", "--cfg=job")]
)
def test_resolved_settings_are_shown_and_nothing_runs(negprompt, tmp_path, monkeypatch, flags):
    monkeypatch.chdir(tmp_path)
    said = negprompt("train", "seed=7", *flags, "data=icons_hard_2")
    shown = yaml.safe_load(said.out)
    assert said.code == 0
    assert (shown["seed"], shown["data"]["name"], shown["ood"]["name"]) == (7, "icons_hard_2", "icons_hard_2")
    assert "${" not in said.out
    assert not list(tmp_path.iterdir())


def test_settings_of_evaluate_are_shown_without_a_run(negprompt):
    assert yaml.safe_load(negprompt("evaluate", "--cfg", "job").out)["run"] == "???"


def test_one_part_of_the_settings(negprompt):
    assert yaml.safe_load(negprompt("train", "--cfg", "job", "-p", "paths").out)["runs_dir"]


# --- train ---------------------------------------------------------------------------------------------------------


def test_train_leaves_a_finished_folder_that_a_second_call_reuses(negprompt, light, finished, tmp_path):
    first = negprompt("train", *light)
    folder = run_folder(tmp_path / "runs", "negprompt")
    assert first.code == 0
    assert f"written to {folder}" in first.out
    assert results(tmp_path / "runs") == results(finished)
    again = negprompt("train", *light)
    assert f"reused {folder}" in again.out
    assert yaml.safe_load((folder / "config.yaml").read_text())["method"]["name"] == "negprompt"
    assert "negprompt train" in json.loads((folder / "provenance.json").read_text())["command"]


def test_a_sweep_over_seeds_is_two_runs(negprompt, light, tmp_path):
    said = negprompt("train", *light, "--multirun", "seed=1,2")
    assert said.code == 0
    assert not said.messages
    for method in ("coop", "negprompt"):
        names = sorted(done.parent.name.split("-")[0] for done in (tmp_path / "runs").rglob(f"{method}/*/*/DONE"))
        assert names == ["seed1", "seed2"]


def test_hydras_own_files_stay_out_of_run_folders(negprompt, light, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = [word for word in light if not word.startswith("method.")]
    assert negprompt("train", *settings, "-m", "method=zero_shot", "seed=1,2").code == 0
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]
    assert not list((tmp_path / "runs" / "icons").rglob("*hydra*"))
    assert list((tmp_path / "runs" / "_sweeps").glob("*/jobs/multirun.yaml"))


def test_flags_may_stand_anywhere(negprompt, light, tmp_path):
    settings = [word for word in light if not word.startswith("method.")]
    assert negprompt("train", "method=zero_shot", "-m", *settings, "seed=1,2").code == 0
    assert len(list(tmp_path.rglob("DONE"))) == 2


# --- evaluate ------------------------------------------------------------------------------------------------------


@pytest.fixture
def a_run(finished, tmp_path):
    """A copy of the finished run of stage 2."""
    return shutil.copytree(run_folder(finished, "negprompt"), tmp_path / "run")


@pytest.mark.parametrize("given", ["folder", "prompts.safetensors"])
def test_evaluate_repeats_the_metrics_of_its_run(negprompt, a_run, given):
    said = negprompt("evaluate", f"run={a_run if given == 'folder' else a_run / given}")
    output = a_run / "evaluation" / "icons"
    assert said.code == 0
    assert f"written to {output}" in said.out
    assert (output / "metrics.json").read_bytes() == (a_run / "metrics.json").read_bytes()
    with np.load(output / "scores.npz") as mine, np.load(a_run / "scores.npz") as theirs:
        assert sorted(mine) == sorted(theirs)
        assert all((mine[key] == theirs[key]).all() for key in mine)
    assert find_run(a_run).is_done


def test_evaluate_takes_other_scores_pictures_and_places(negprompt, a_run, icons, tmp_path):
    output = tmp_path / "output"
    words = ("data=icons_val", "ood=icons_val", f"data.root={icons}", "data.num_shots=1", "score=[energy,mcm]")
    said = negprompt("evaluate", f"run={a_run}", *words, f"output={output}")
    assert said.code == 0
    metrics = json.loads((output / "metrics.json").read_text())
    assert (metrics["benchmark"], list(metrics["scores"])) == ("icons_val", ["energy", "mcm"])
    assert metrics["scores"]["mcm"]["near"]["n_id"] == 20
    assert not (a_run / "evaluation").exists()


def test_a_sweep_of_evaluations(negprompt, a_run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = negprompt("evaluate", "-m", f"run={a_run}", "score=[mcm],[msp]", "output=a,b")
    assert said.code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "run"]


# --- report --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("scores", "lines"), [("headline", 2), ("all", 9)])
def test_report_writes_one_row_for_each_score(negprompt, finished, tmp_path, scores, lines):
    words = (f"output={tmp_path / 'report'}", f"scores={scores}", "figures=false")
    said = negprompt("report", f"runs={finished}", *words)
    assert said.code == 0
    assert "coop" in said.out
    rows = (tmp_path / "report" / "summary.csv").read_text().splitlines()
    assert len(rows) == 1 + lines * len(("near", "symbols", "logos", "flags", "mean"))
    assert (tmp_path / "report" / "summary.md").read_text().startswith("# Runs in ")
    assert (tmp_path / "report" / "summary.png").stat().st_size > 0
    assert not (tmp_path / "report" / "figures").exists()


def test_a_page_of_moved_runs_has_all_parts_from_stored_features(negprompt, finished, tmp_path, monkeypatch):
    def encode_image(self, images):
        raise AssertionError("a picture was encoded")

    monkeypatch.setattr(OpenClipBackbone, "encode_image", encode_image)
    shutil.copytree(finished, tmp_path / "moved")
    words = ("title=All of it", "mistakes=2", "map.images_per_set=4", "map.perplexity=3")
    said = negprompt("report", f"runs={tmp_path / 'moved'}", f"output={tmp_path / 'report'}", *words)
    assert (said.code, said.messages) == (0, [])
    page = (tmp_path / "report" / "report.html").read_text()
    for part in ("<h1>All of it</h1>", "Hardest mistakes", "Learned words", "negprompt train", "NegPrompt", "CoOp"):
        assert part in page
    kinds = {path.name.split("_")[0] for path in (tmp_path / "report" / "figures").glob("*.svg")}
    assert kinds == {"histograms", "roc", "training", "fig3", "fig4", "cost"}
    tables = {path.name for path in (tmp_path / "report" / "tables").iterdir()}
    assert {f"{key}.{form}" for key in ("table2_icons", "table4_accuracy") for form in ("md", "csv", "tex")} <= tables


def test_a_report_without_the_pictures_says_what_could_not_be_drawn(negprompt, finished, tmp_path):
    moved = tmp_path / "moved"
    shutil.copytree(finished, moved, ignore=shutil.ignore_patterns("_*"))
    for config in moved.rglob("config.yaml"):
        config.write_text(config.read_text().replace("root: ", "root: /gone/with/"))
    said = negprompt("report", f"runs={moved}", f"output={tmp_path / 'report'}")
    assert said.code == 0
    assert "cannot be drawn" in (tmp_path / "report" / "summary.md").read_text()
    assert "Hardest mistakes" not in (tmp_path / "report" / "report.html").read_text()


def test_report_prints_only_unless_told_where_to_write(negprompt, finished, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "negprompt" in negprompt("report", f"runs={finished}").out
    assert not list(tmp_path.iterdir())


# --- completion ----------------------------------------------------------------------------------------------------


def completed(script, line):
    """What bash would offer for a line that ends at the cursor."""
    code = f"""{script}
COMP_WORDBREAKS=' ="'; COMP_LINE={line!r}; COMP_POINT=${{#COMP_LINE}}
COMP_WORDS=($COMP_LINE); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
case "$COMP_LINE" in *" ") COMP_CWORD=$((COMP_CWORD + 1)) ;; esac
_negprompt 2>/dev/null; printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    done = subprocess.run(["bash", "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.split()


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_bash_completes_commands_groups_and_settings(negprompt):
    script = negprompt("completion", "bash").out
    assert completed(script, "negprompt ") == list(COMMANDS)
    assert completed(script, "negprompt tr") == ["train"]
    assert "method=zero_shot" in completed(script, "negprompt train metho")
    assert completed(script, "negprompt train seed=1 method=negprompt_p") == ["negprompt_paper"]
    assert completed(script, "negprompt train data.num_") == ["data.num_shots="]
    assert completed(script, "negprompt search search_space=c") == ["coop"]
    assert completed(script, "negprompt search search.tri") == ["search.trials="]
    assert completed(script, "negprompt search search_space.") == []
    assert completed(script, "negprompt evaluate ru") == ["run="]
    assert completed(script, "negprompt report score") == ["scores="]
    assert completed(script, "negprompt completion z") == ["zsh"]
    assert completed(script, "negprompt extract features.au") == ["features.augment="]
    assert completed(script, "negprompt data v") == ["verify"]
    assert completed(script, "negprompt data verify paths.f") == ["paths.features_dir="]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_know_all_commands_and_are_valid(negprompt, shell):
    said = negprompt("completion", shell)
    assert said.code == 0
    for word in (*COMMANDS, "backbone=tiny_rn", "method.num_negatives=", "seed="):
        assert word in said.out
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=said.out, text=True, check=True)


@pytest.mark.parametrize("words", [(), ("powershell",), ("bash", "zsh"), ("bsh",)])
def test_completion_of_unknown_shells_is_refused(negprompt, words):
    said = negprompt("completion", *words)
    assert said.code == 2
    assert "bash, fish, zsh" in said.err
