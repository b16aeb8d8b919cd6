"""What docs/cluster.md and the sbatch script tell users to type is understood."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest
from command_line import call

from negprompt.cli.arguments import parse
from negprompt.cli.compose import members, plain
from negprompt.cli.sweep.settings import launcher_settings

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "cluster.md").read_text(encoding="utf-8")
SCRIPT = ROOT / "experiments" / "cluster" / "negprompt.sbatch"
COMMANDS = re.findall(r"^negprompt (.+)$", PAGE, re.MULTILINE)
SUBMITTED = re.findall(r"negprompt\.sbatch (.+)$", PAGE + SCRIPT.read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.parametrize("words", COMMANDS)
def test_a_command_of_the_page_composes(words, capsys):
    command, *rest = shlex.split(words)
    arguments = parse(rest)
    if arguments.multirun:  # which Hydra does not show
        composed = members(command, arguments)
        assert len(composed) > 1
        assert launcher_settings(plain(composed[0].config.launcher)).name
    else:
        assert call(command, *rest, "--cfg", "job") == 0, capsys.readouterr().err


@pytest.mark.parametrize("words", SUBMITTED)
def test_overrides_for_the_script_compose(words, capsys):
    assert call("train", *shlex.split(words), "--cfg", "job") == 0, capsys.readouterr().err


def test_page_and_script_have_commands_to_try():
    assert len(COMMANDS) > 5
    assert len(SUBMITTED) > 2


def test_the_script_is_valid_shell():
    assert subprocess.run(["bash", "-n", str(SCRIPT)], check=False).returncode == 0
