"""Who may import whom: the contracts hold, and each of them would notice its violation."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

pytest.importorskip("importlinter", reason="the import contracts need import-linter")

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "negprompt"
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
ONLY_IN_A_PACKAGE = [contract for contract in CONTRACTS if contract["name"].endswith(" only")]
LAYERS, HYDRA, WANDB, FIGURES, LIGHTNING, OPEN_CLIP, WEBDATASET, OPTUNA, ONNX = (
    contract["name"] for contract in CONTRACTS
)


def check_imports(source):
    """Exit status of import-linter and the names of the broken contracts, for the package below `source`."""
    code = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(sys.argv[1], no_cache=True))"
    done = subprocess.run(
        [sys.executable, "-c", code, str(ROOT / "pyproject.toml")],
        env={**os.environ, "PYTHONPATH": str(source)},
        capture_output=True,
        text=True,
        check=False,
    )
    broken = {contract["name"] for contract in CONTRACTS if f"{contract['name']} BROKEN" in done.stdout}
    return done.returncode, broken, done.stdout


@pytest.fixture
def copy_of_source(tmp_path):
    only_code = shutil.ignore_patterns("resources", "__pycache__")
    shutil.copytree(SOURCE, tmp_path / "src" / "negprompt", ignore=only_code)
    return tmp_path / "src"


def test_every_contract_holds():
    status, broken, output = check_imports(SOURCE.parent)
    assert (status, broken) == (0, set()), output


@pytest.mark.parametrize(
    ("file", "line", "contract"),
    [
        ("scores/violation.py", "import negprompt.metrics", LAYERS),
        ("reports/violation.py", "import negprompt.tracking", LAYERS),
        ("runs/violation.py", "import negprompt.data", LAYERS),
        ("types.py", "import negprompt.errors", LAYERS),
        ("newcomer/__init__.py", "", LAYERS),
        ("methods/violation.py", "from omegaconf import DictConfig", HYDRA),
        ("api.py", "import hydra", HYDRA),
        ("cli/violation.py", "import wandb", WANDB),
        ("metrics/violation.py", "import matplotlib.pyplot", FIGURES),
        ("scores/violation.py", "import lightning.pytorch", LIGHTNING),
        ("backbones/violation.py", "import open_clip", OPEN_CLIP),
        ("data/violation.py", "def late():\n    import webdataset", WEBDATASET),
        ("cli/violation.py", "import optuna", OPTUNA),
        ("detection/export/violation.py", "import onnxruntime", ONNX),
    ],
)
def test_a_violation_breaks_its_contract_and_no_other(copy_of_source, file, line, contract):
    path = copy_of_source / "negprompt" / file
    path.parent.mkdir(exist_ok=True)
    path.write_text((path.read_text() if path.is_file() else "") + f"\n{line}\n")
    status, broken, output = check_imports(copy_of_source)
    assert status != 0
    assert broken == {contract}, output


@pytest.mark.parametrize("contract", ONLY_IN_A_PACKAGE, ids=lambda contract: contract["name"])
def test_an_only_in_one_package_contract_names_every_other_module(contract):
    modules = {path.stem for path in SOURCE.glob("*.py")} | {path.parent.name for path in SOURCE.glob("*/__init__.py")}
    # __main__ starts the command line and is part of it.
    unnamed = {f"negprompt.{name}" for name in modules - {"__init__", "__main__"}} - set(contract["source_modules"])
    assert len(unnamed) == 1, f"add all but the owner to the source_modules of {contract['name']!r}: {sorted(unnamed)}"
