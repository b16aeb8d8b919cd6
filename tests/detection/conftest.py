"""One small finished run of both stages, its pictures, and the command line in this process."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from command_line import LIGHT, Said, call
from PIL import Image

from negprompt.data.icons import IconsID


@pytest.fixture
def negprompt(capsys):
    """`negprompt <words>` -> `Said`."""
    return lambda *words: Said(call(*words), *capsys.readouterr())


@pytest.fixture(scope="session")
def run(icons, tmp_path_factory) -> Path:
    """A run of negprompt on twenty classes, to be looked at only; its calibration rests on 20 pictures."""
    runs_dir = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("negprompt.phases.score_histograms", lambda *_, **__: None)
        patch.setenv("NEGPROMPT_FEATURES", str(runs_dir / "features"))
        assert call("train", *LIGHT, f"data.root={icons}", f"paths.runs_dir={runs_dir}") == 0
    (done,) = runs_dir.rglob("negprompt/*/*/DONE")
    return done.parent


@pytest.fixture(scope="session")
def id_sets(icons) -> IconsID:
    return IconsID(name="icons", root=str(icons), num_shots=2)


@pytest.fixture(scope="session")
def tests(id_sets):
    """The ID test pictures as a run sees them."""
    return id_sets.load(1).test


@pytest.fixture(scope="session")
def opened(tests) -> list[Image.Image]:
    return [Image.open(io.BytesIO(one)).convert("RGB") for one in tests.encoded]


@pytest.fixture(scope="session")
def folder(tests, tmp_path_factory) -> Path:
    """The first eight test pictures as files, in two folders."""
    root = tmp_path_factory.mktemp("pictures")
    for place, encoded in enumerate(tests.encoded[:8]):
        path = root / ("more" if place >= 4 else ".") / f"{place}.webp"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(encoded)
    return root
