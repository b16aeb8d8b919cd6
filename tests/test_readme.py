"""What the README tells users to type is understood: every command composes into checked settings."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import miniatures
import pytest
from helpers import write_captions

from negprompt.cli.arguments import parse
from negprompt.cli.build import build_request
from negprompt.cli.compose import compositions, plain
from negprompt.cli.main import COMMANDS

ROOT = Path(__file__).parents[1]
TRAIN = re.compile(r"^(?:\.venv/bin/)?negprompt train(?P<arguments>[^#\n]*)", re.MULTILINE)
COMMAND = re.compile(r"^(?:\.venv/bin/)?negprompt (?P<command>[a-z]+)", re.MULTILINE)
TARGET = re.compile(r"^make (?P<target>[a-z]+)", re.MULTILINE)


def readme() -> str:
    return (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with the data sets that the README's commands name."""
    folder = tmp_path_factory.mktemp("home")
    few = miniatures.resource("wordnet_ids.txt")[:2]
    miniatures.imagenet(folder / "archives" / "imagenet_1k", val="flat", wordnet_ids=few)
    miniatures.conventional(folder / "archives", per_set=1)
    miniatures.folder(folder / "mine")
    miniatures.ood_folder(folder / "others")
    write_captions(folder / "captions", shards=1, pairs=2)
    return folder


@pytest.mark.parametrize("arguments", [match["arguments"].strip() for match in TRAIN.finditer(readme())])
def test_a_train_command_of_the_readme_composes(arguments, home, monkeypatch):
    monkeypatch.chdir(home)
    monkeypatch.setenv("NEGPROMPT_DATA", str(home / "archives"))
    members = compositions("train", parse([word for word in shlex.split(arguments) if word not in ("--cfg", "job")]))
    assert members
    for member in members:
        build_request(plain(member)).check()


def test_the_readme_names_commands_and_targets_that_exist():
    assert {match["command"] for match in COMMAND.finditer(readme())} <= set(COMMANDS)
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for match in TARGET.finditer(readme()):
        assert re.search(rf"^{match['target']}:", makefile, re.MULTILINE), match["target"]


def test_the_demo_of_the_makefile_is_the_one_in_the_readme():
    demo = re.search(r"^demo:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert demo is not None
    for line in demo[1].splitlines():
        assert line.strip().replace("$(BIN)", ".venv/bin") in readme()
