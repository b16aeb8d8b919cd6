"""docs/own-data.md does what it says: each command runs, in its order, on a generated folder, and all ways agree."""

from __future__ import annotations

import csv
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import miniatures
import pytest
from command_line import call

pytestmark = pytest.mark.usefixtures("no_figures")

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "own-data.md"
BLOCK = re.compile(r"^```(?P<kind>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
CLASSES = ("cat", "dog_breed", "t-rex", "teapot", "bicycle")
FAST = (
    "features.views=1 trainer=cpu trainer.progress_bar=false method.optimizer.epochs=1 method.optimizer.min_steps=0 "
    "method.positive.optimizer.epochs=1 method.positive.optimizer.min_steps=0"
)
# What is put behind a command so that it takes seconds, and what it must say.
COMMANDS = {
    "data": ("", "no problem in"),
    "train": (FAST, "written to"),
    "report": ("", "held_out_classes"),
    "search": (FAST, "negprompt train"),
    "predict": ("trainer=cpu trainer.progress_bar=false", "at most 0.05 of ID images are rejected"),
    "export": ("", "compared with the run on 20 pictures"),
}
EXAMPLE = (
    "import runpy, sys; sys.modules.update(negprompt=None, torch=None); sys.argv.pop(0); "
    "runpy.run_path(sys.argv[0], run_name='__main__')"
)


def blocks(kind):
    return [match["text"] for match in BLOCK.finditer(PAGE.read_text(encoding="utf-8")) if match["kind"] == kind]


def lines():
    return [line for block in blocks("console") for line in block.splitlines()]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("home")
    miniatures.folder(folder / "mine", classes=CLASSES, train=16, test=2)
    miniatures.ood_folder(folder / "photos")
    for name in CLASSES:
        (folder / "photos" / f"{name}.png").write_bytes(miniatures.picture("own", name, "photo", kind="PNG"))
    return folder


@pytest.fixture(scope="module")
def followed(home):
    """What every line of the page said, in a home folder where all have been run."""
    said = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        patch.setattr("negprompt.phases.score_histograms", lambda *_, **__: None)
        run = ""
        for line in lines():
            if (value := line.removeprefix("RUN=")) != line:
                run = subprocess.check_output(["bash", "-c", f"echo {value}"], text=True).strip()
                continue
            words = shlex.split(line.replace("$RUN", run))
            with (home / "said.txt").open("w+") as out:
                patch.setattr(sys, "stdout", out)
                code = call(*words[1:], *COMMANDS[words[1]][0].split())
                out.seek(0)
                said[line] = code, out.read()
            patch.setattr(sys, "stdout", sys.__stdout__)
    return said


def test_every_line_is_a_command_that_is_run():
    commands = [line for line in lines() if not line.startswith("RUN=")]
    assert all(line.startswith("negprompt ") for line in commands)
    assert {line.split()[1] for line in commands} == set(COMMANDS)


@pytest.mark.slow
def test_the_commands_work_in_their_order(followed):
    for line, (code, out) in followed.items():
        assert code == 0, f"{line}\n{out}"
        assert COMMANDS[line.split()[1]][1] in out, f"{line}\n{out}"


@pytest.mark.slow
def test_command_line_python_and_onnx_runtime_give_equal_answers(followed, home, monkeypatch, capsys):
    with (home / "answers.csv").open(newline="") as file:
        answers = {row["path"]: row for row in csv.DictReader(file)}
    assert len(answers) == len(miniatures.OOD_SETS) * 4 + len(CLASSES)
    monkeypatch.chdir(home)
    (code,) = blocks("python")
    exec(compile(code, str(PAGE), "exec"), {})
    from_python = [line.rsplit(maxsplit=2) for line in capsys.readouterr().out.splitlines()]
    assert len(from_python) == len(answers)
    done = subprocess.run(
        [sys.executable, "-c", EXAMPLE, str(ROOT / "examples" / "onnx_detector.py"), "detector.onnx", *answers],
        capture_output=True,
        text=True,
        check=True,
    )
    from_onnx = {one["file"]: one for one in map(json.loads, done.stdout.splitlines())}
    for start, score, verdict in from_python:
        path = next(path for path in answers if start.startswith(f"{path} "))
        line, elsewhere = answers[path], from_onnx[path]
        assert start == f"{path} {line['class_name']}"
        assert (verdict == "OOD") == (line["is_ood"].lower() == "true") == elsewhere["is_ood"]
        assert elsewhere["class_name"] == line["class_name"]
        assert float(score) == pytest.approx(float(line["score"]), abs=1e-4)
        assert elsewhere["score"] == pytest.approx(float(line["score"]), abs=1e-4)
    assert (home / "strange.png").stat().st_size > 1000
    assert (home / "report" / "summary.md").is_file()


def test_links_of_the_page_lead_somewhere():
    for target in re.findall(r"\]\(([^)#:]+)\)", PAGE.read_text(encoding="utf-8")):
        assert (PAGE.parent / target).exists(), target
