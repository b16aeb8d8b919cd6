"""What docs/importing.md tells users to type is understood."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from negprompt.cli import import_
from negprompt.cli.arguments import parse
from negprompt.cli.build import build_request
from negprompt.cli.compose import compositions, plain

PAGE = (Path(__file__).parents[1] / "docs" / "importing.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^negprompt (\w+) (.*)$", PAGE, re.MULTILINE)


@pytest.mark.parametrize(("command", "words"), COMMANDS, ids=[words for _, words in COMMANDS])
def test_a_command_of_the_page_is_understood(command, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    configs = [plain(config) for config in compositions(command, parse(shlex.split(words)))]
    assert configs
    for config in configs:
        if command == "import":
            import_.check(config)
        elif command == "train":
            build_request(config)


def test_the_page_shows_all_three_commands():
    assert {command for command, _ in COMMANDS} == {"import", "evaluate", "train"}
