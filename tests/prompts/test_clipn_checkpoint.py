"""The released checkpoint of CLIPN, in exactly its layout: what is read, and what is refused."""

from __future__ import annotations

import pickle

import pytest
import torch
from helpers import tiny_backbone, tiny_clip
from torch import nn

from negprompt.errors import PromptMismatchError
from negprompt.methods.clipn_adapter import load_tower
from negprompt.prompts.clipn_checkpoint import adapter_of, clip_weights, load_checkpoint
from negprompt.prompts.no_text import NoText, no_text_of

_TEXT = ("transformer", "token_embedding", "positional_embedding", "ln_final", "text_projection")


def released(seed=0, prefix="", shift=0.1, **state):
    """The state dict of a trained CLIPN beside the random CLIP of `seed`."""
    clip = {name: tensor for name, tensor in tiny_clip(seed).state_dict().items() if "attn_mask" not in name}
    no = {}
    for name, tensor in clip.items():
        part, dot, rest = name.partition(".")
        if part in _TEXT:
            no[f"{part}_no{dot}{rest}"] = tensor + shift
    prompts = torch.randn(16, 77, 32, generator=torch.Generator().manual_seed(4))
    return {f"{prefix}{name}": tensor for name, tensor in {**clip, **no, "prompt_no": prompts, **state}.items()}


def checkpoint(state):
    optimizer = {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 3e-4, "betas": (0.9, 0.98)}]}
    return {"epoch": 10, "name": "clipn", "state_dict": state, "optimizer": optimizer, "scaler": {"scale": 65536.0}}


@pytest.fixture
def file(tmp_path):
    torch.save(checkpoint(released(prefix="module.")), tmp_path / "epoch_10.pt")
    return tmp_path / "epoch_10.pt"


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("zipped", [True, False])
def test_its_second_tower_is_read(tmp_path, prefix, zipped):
    state = released(prefix=prefix)
    torch.save(checkpoint(state), tmp_path / "epoch_10.pt", _use_new_zipfile_serialization=zipped)
    found = load_checkpoint(tmp_path / "epoch_10.pt", tiny_backbone())
    assert set(found) == set(NoText(tiny_backbone()).tensors())
    assert torch.equal(found["no.prompts"], state[f"{prefix}prompt_no"])
    name = "transformer.resblocks.1.attn.in_proj_weight"
    assert torch.equal(found[f"no.{name}"], state[f"{prefix}{name.replace('transformer', 'transformer_no', 1)}"])
    assert torch.equal(found["no.text_projection"], state[f"{prefix}text_projection_no"])


def test_it_becomes_a_working_tower(file):
    backbone = tiny_backbone()
    adapter = load_tower(file, backbone, backbone.weights_sha256())
    loaded = no_text_of(backbone, adapter.tensors)
    shift = loaded.text.ln_final.weight.detach() - backbone.model.ln_final.weight
    assert float(shift.min()) == pytest.approx(0.1, abs=1e-6)


def test_a_checkpoint_saved_in_half_precision_still_fits():
    state = {name: tensor.half() for name, tensor in released().items()}
    backbone = tiny_backbone()
    assert adapter_of(state, clip_weights(backbone), backbone.name)["no.prompts"].dtype == torch.float32


def test_the_weights_of_another_layout_of_the_same_clip_are_found():
    both = [clip_weights(tiny_backbone(custom_text=custom)) for custom in (False, True)]
    assert {*both[0]} == {*both[1]}


def test_the_clip_beside_it_must_be_this_run_s(file):
    with pytest.raises(PromptMismatchError, match=r"another CLIP than backbone=tiny_test: it has other values in"):
        load_checkpoint(file, tiny_backbone(seed=1))


def test_which_backbone_was_expected_is_said(tmp_path):
    patches = torch.zeros(32, 3, 16, 16)
    torch.save(checkpoint(released(**{"visual.conv1.weight": patches})), tmp_path / "epoch_10.pt")
    with pytest.raises(PromptMismatchError, match=r"visual.conv1.weight \(32, 3, 16, 16\).*backbone=vit_b16_laion2b"):
        load_checkpoint(tmp_path / "epoch_10.pt", tiny_backbone())


def test_the_learned_scale_may_differ():
    state = released(logit_scale=torch.tensor(4.0))
    assert "no.prompts" in adapter_of(state, clip_weights(tiny_backbone()), "tiny_test")


@pytest.mark.parametrize("lacking", ["prompt_no", "text_projection_no", "token_embedding_no.weight"])
def test_a_checkpoint_without_a_whole_second_tower_is_refused(lacking):
    state = released()
    del state[lacking]
    with pytest.raises(PromptMismatchError, match=rf"no whole .* example {lacking}"):
        adapter_of(state, clip_weights(tiny_backbone()), "tiny_test")


def test_tensors_of_other_shapes_are_refused(tmp_path):
    torch.save(checkpoint(released(prompt_no=torch.zeros(16, 50, 32))), tmp_path / "epoch_10.pt")
    backbone = tiny_backbone()
    with pytest.raises(PromptMismatchError, match=r"no.prompts is \(16, 50, 32\)"):
        load_tower(tmp_path / "epoch_10.pt", backbone, backbone.weights_sha256())


class _Runs:
    """What it is made of runs when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize("save", [torch.save, lambda content, path: path.write_bytes(pickle.dumps(content))])
def test_a_pickle_that_would_run_code_is_refused(tmp_path, save):
    file, trap = tmp_path / "epoch_10.pt", tmp_path / "trap"
    save({**checkpoint(released()), "name": _Runs(trap)}, file)
    with pytest.raises(PromptMismatchError, match="cannot be read as a checkpoint of tensors"):
        load_checkpoint(file, tiny_backbone())
    assert not trap.exists()


def test_a_whole_module_is_refused(tmp_path):
    torch.save(nn.Linear(2, 2), tmp_path / "epoch_10.pt")
    with pytest.raises(PromptMismatchError, match="cannot be read as a checkpoint of tensors"):
        load_checkpoint(tmp_path / "epoch_10.pt", tiny_backbone())


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut", b"text"])
def test_a_damaged_file_is_named(tmp_path, content):
    (tmp_path / "epoch_10.pt").write_bytes(content)
    with pytest.raises(PromptMismatchError, match=r"epoch_10\.pt cannot be read"):
        load_checkpoint(tmp_path / "epoch_10.pt", tiny_backbone())


@pytest.mark.parametrize("content", [{"epoch": 1}, torch.zeros(2), {"state_dict": {"epoch": 3}}])
def test_a_file_of_something_else_is_refused(tmp_path, content):
    torch.save(content, tmp_path / "epoch_10.pt")
    with pytest.raises(PromptMismatchError, match="no state_dict of tensors"):
        load_checkpoint(tmp_path / "epoch_10.pt", tiny_backbone())
