"""The command line in this process on small shards."""

from __future__ import annotations

import pytest
from command_line import LIGHT, Said, call


@pytest.fixture
def negprompt(capsys):
    """`negprompt <words>` -> `Said`."""
    return lambda *words: Said(call(*words), *capsys.readouterr())


@pytest.fixture
def light(icons, tmp_path):
    """Overrides of a run of both stages that takes a second, below `tmp_path / "runs"`."""
    return (*LIGHT, f"data.root={icons}", f"paths.runs_dir={tmp_path / 'runs'}")


@pytest.fixture(scope="session")
def finished(icons, tmp_path_factory):
    """A runs folder with one finished run of each stage, made by the light command; to be looked at only."""
    runs_dir = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("negprompt.phases.score_histograms", lambda *_, **__: None)
        assert call("train", *LIGHT, f"data.root={icons}", f"paths.runs_dir={runs_dir}") == 0
    return runs_dir
