"""The wheel carries everything that a run needs, so that an installed negprompt works from any folder."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytest.importorskip("hatchling", reason="the wheel is built with hatchling")

ROOT = Path(__file__).resolve().parents[1]
NOT_SHIPPED = {"__pycache__", ".ruff_cache", ".mypy_cache"}


def files_below(folder):
    paths = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return {path.as_posix() for path in paths if not NOT_SHIPPED & set(path.parts)}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built as an installer would, with the build tool at hand instead of a fresh one from the index."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (path,) = folder.glob("negprompt-*-py3-none-any.whl")
    with zipfile.ZipFile(path) as archive:
        yield archive


def test_the_wheel_holds_the_package_the_yaml_files_and_nothing_else(wheel):
    shipped = {name for name in wheel.namelist() if ".dist-info/" not in name}
    packages = ("negprompt", "hydra_plugins")
    package = {f"{one}/{name}" for one in packages for name in files_below(ROOT / "src" / one)}
    conf = {f"negprompt/conf/{name}" for name in files_below(ROOT / "conf")}
    assert shipped == package | conf


@pytest.mark.parametrize(
    "name", ["negprompt/py.typed", "negprompt/conf/train.yaml", "negprompt/data/resources/icons/LICENSES.md"]
)
def test_what_a_stranger_needs_is_inside(wheel, name):
    assert name in wheel.namelist()


def test_shards_weights_and_model_cards_are_inside(wheel):
    resources = [name for name in wheel.namelist() if "/resources/" in name]
    assert {".tar", ".safetensors", ".json", ".md"} <= {Path(name).suffix for name in resources}


def test_the_command_and_both_licences_are_declared(wheel):
    (info,) = {name.split("/")[0] for name in wheel.namelist() if ".dist-info/" in name}
    assert "negprompt = negprompt.cli.main:main" in wheel.read(f"{info}/entry_points.txt").decode()
    assert {f"{info}/licenses/LICENSE", f"{info}/licenses/LICENSE-DATA.md"} <= set(wheel.namelist())


def test_the_locked_versions_are_names_and_versions_only():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    names, versions = zip(*(line.split("==") for line in lines), strict=True)
    assert len(set(names)) == len(names)
    assert not any(set(version) & set("+@/; ") for version in versions)
