"""docs/extending.md: its files, written as they stand there, and its commands, run on a miniature."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
from command_line import LIGHT, ONE_STAGE, call

PAGE = (Path(__file__).parents[1] / "docs" / "extending.md").read_text(encoding="utf-8")
FILES = re.findall(r"`(mine/[a-z_/]+\.(?:py|yaml))`[^`]*?\n```(?:python|yaml)\n(.*?)```", PAGE, re.DOTALL)
COMMANDS = [shlex.split(line) for line in re.findall(r"^negprompt (.+)$", PAGE, re.MULTILINE)]

pytestmark = pytest.mark.usefixtures("no_figures")


@pytest.fixture(scope="module")
def mine(tmp_path_factory):
    """The page's folder."""
    folder = tmp_path_factory.mktemp("page")
    for name, content in FILES:
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    return folder


def test_the_page_shows_four_files():
    assert [name for name, _ in FILES] == [
        "mine/nearest.py", "mine/score/nearest.yaml", "mine/soft_coop.py", "mine/method/soft_coop.yaml",
    ]  # fmt: skip


def test_the_commands_work_in_their_order(mine, icons, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(mine)
    runs = tmp_path / "runs"
    for words in COMMANDS:
        if "--multirun" in words:
            continue  # a sweep of what ran before
        found = next(runs.glob("icons/zero_shot/tiny_rn/*"), None)
        own = [f"run={found}" if word.startswith("run=") else word for word in words]
        light = [] if words[0] == "evaluate" else [f"data.root={icons}", f"paths.runs_dir={runs}"]
        if words[0] == "train":
            light += ONE_STAGE if "method=zero_shot" in words else [word for word in LIGHT if ".positive." not in word]
        assert call(*own, *light) == 0, capsys.readouterr().err
    (folder,) = runs.glob("icons/zero_shot/tiny_rn/seed1-*")
    trained = json.loads((folder / "metrics.json").read_text())["scores"]
    again = json.loads((folder / "evaluation" / "icons" / "metrics.json").read_text())["scores"]
    assert list(trained) == ["mcm", "nearest"]
    assert again == {"nearest": trained["nearest"]}
    assert list(runs.glob("icons/soft_coop/tiny_rn/seed2-*/DONE"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["method=zero_shot", "score=[nearest]", "score.nearest.rivals=0"], "score.nearest.rivals=0 is not allowed"),
        (["method=soft_coop", "method.smoothing=2"], "method.smoothing=2"),
    ],
)
def test_their_settings_are_checked_like_ours(mine, icons, tmp_path, monkeypatch, capsys, words, said):
    monkeypatch.chdir(mine)
    code = call("train", "--config-dir", "mine", *words, f"data.root={icons}", f"paths.runs_dir={tmp_path}")
    assert code != 0
    assert said in capsys.readouterr().err
