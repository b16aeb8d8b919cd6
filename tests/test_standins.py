"""Modules that a detector does without: not loaded, replaced by nothing, there for whoever asks afterwards."""

from __future__ import annotations

import importlib
import subprocess
import sys
import types

import pytest

from negprompt import standins

DETECTOR = """
import sys
from negprompt import Detector
import torchvision, timm.utils.summary
absent = sorted({"torch._dynamo", "torch._inductor", "wandb", "lightning", "hydra"} & set(sys.modules))
assert absent == [], absent
"""
AFTERWARDS = """
import torch
compiled = torch.compile(lambda x: x + 1, backend="eager")
assert compiled(torch.ones(2)).tolist() == [2.0, 2.0]
assert torch._dynamo.__file__ and sys.modules["torch._dynamo"] is torch._dynamo

boxes = torch.tensor([[0.0, 0.0, 0.0, 4.0, 4.0]])
pooled = torchvision.ops.roi_align(torch.ones(1, 1, 4, 4), boxes, output_size=2)
assert pooled.tolist() == [[[[1.0, 1.0], [1.0, 1.0]]]]
from torchvision import tv_tensors
image = tv_tensors.wrap(torch.ones(3, 2, 2), like=tv_tensors.Image(torch.ones(3, 2, 2)))
assert type(image) is tv_tensors.Image

import wandb
assert wandb.__version__ == timm.utils.summary.wandb.__version__
assert timm.utils.summary.wandb.Settings is wandb.Settings
"""


@pytest.mark.slow
def test_compiler_torchvision_and_wandb_are_whole_afterwards():
    code = DETECTOR + AFTERWARDS
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def nothing_loaded(monkeypatch):
    for name in ("torch._dynamo", "torch._dynamo.utils", "wandb"):
        monkeypatch.delitem(sys.modules, name, raising=False)


def test_a_stand_in_that_is_asked_for_more_gives_the_real_thing(nothing_loaded, monkeypatch):
    loaded = []

    def load(name):
        loaded.append(name)
        return types.SimpleNamespace(log="real")

    with standins.stand_ins():
        wandb = sys.modules["wandb"]
        monkeypatch.setattr(importlib, "import_module", load)
        assert not hasattr(wandb, "__file__")  # what `inspect` asks
        assert loaded == []
        assert wandb.log == "real"
        assert loaded == ["wandb"]


def test_nothing_is_left_behind_also_after_an_error(nothing_loaded):
    def fail():
        with standins.stand_ins():
            assert "wandb" in sys.modules
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        fail()
    assert not {"torch._dynamo", "torch._dynamo.utils", "wandb"} & set(sys.modules)


def test_what_is_loaded_stays(nothing_loaded, monkeypatch):
    modules = {name: types.ModuleType(name) for name in ("torch._dynamo", "wandb")}
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    with standins.stand_ins():
        assert all(sys.modules[name] is module for name, module in modules.items())
        assert "torch._dynamo.utils" not in sys.modules
    assert all(sys.modules[name] is module for name, module in modules.items())


def test_the_mark_works_as_a_function_and_as_a_decorator(nothing_loaded):
    def function():
        return 1

    with standins.stand_ins():
        disable = sys.modules["torch._dynamo"].disable
        assert disable(function) is function
        assert disable(recursive=False)(function) is function
