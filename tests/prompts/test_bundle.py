"""Prompt bundles: the same bits back, the same bytes for the same prompts, and refusals that name the fix."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import torch
from helpers import tiny_backbone
from safetensors.torch import save_file

from negprompt.errors import PromptMismatchError
from negprompt.prompts import bundle as bundles
from negprompt.types import PromptBundle


@pytest.fixture(scope="module")
def backbone():
    return tiny_backbone()


@pytest.fixture
def bundle(backbone):
    generator = torch.Generator().manual_seed(0)
    metadata = {
        "backbone": "tiny_test",
        "weights_sha256": backbone.weights_sha256(),
        "class_token_position": "middle",
        "full_stop": True,
        "seed": 0,
        "train_class_names": ["crème brûlée", "owl"],
    }
    return PromptBundle(torch.randn(4, 32, generator=generator), torch.randn(2, 4, 32, generator=generator), metadata)


def saved(folder, bundle):
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / bundles.FILE_NAME
    file.write_bytes(bundles.to_bytes(bundle))
    return file


def test_a_bundle_comes_back_bit_for_bit(tmp_path, bundle):
    read = bundles.load(saved(tmp_path, bundle))
    assert torch.equal(read.positive, bundle.positive)
    assert torch.equal(read.negative, bundle.negative)
    assert read.metadata == bundle.metadata


def test_a_bundle_without_negatives_comes_back_without(tmp_path, bundle):
    assert bundles.load(saved(tmp_path, bundle._replace(negative=None))).negative is None


def test_a_run_folder_stands_for_the_bundle_in_it(tmp_path, bundle):
    saved(tmp_path, bundle)
    assert torch.equal(bundles.load(str(tmp_path)).positive, bundle.positive)


def test_equal_bundles_give_equal_bytes_whatever_the_order_of_their_metadata(bundle):
    turned = bundle._replace(metadata=dict(reversed(bundle.metadata.items())))
    assert bundles.to_bytes(bundle) == bundles.to_bytes(turned)


def test_bytes_are_equal_in_another_process(tmp_path, bundle):
    script = (
        "import sys; from pathlib import Path; from negprompt.prompts import bundle\n"
        "sys.stdout.buffer.write(bundle.to_bytes(bundle.load(Path(sys.argv[1]))))"
    )
    again = subprocess.run(
        [sys.executable, "-c", script, str(saved(tmp_path, bundle))],
        capture_output=True,
        check=True,
        env={**os.environ, "PYTHONHASHSEED": "7"},
    )
    assert again.stdout == bundles.to_bytes(bundle)


def test_a_slice_and_a_parameter_are_saved_as_their_values(tmp_path, bundle):
    wide = torch.nn.Parameter(torch.randn(4, 64))
    read = bundles.load(saved(tmp_path, bundle._replace(positive=wide[:, ::2])))
    assert torch.equal(read.positive, wide[:, ::2])
    assert not read.positive.requires_grad


@pytest.mark.parametrize("value", [0, 1])
def test_one_changed_bit_changes_the_bytes(bundle, value):
    changed = bundle.positive.clone()
    changed.view(torch.int32)[3, value] ^= 1
    assert bundles.to_bytes(bundle._replace(positive=changed)) != bundles.to_bytes(bundle)


def test_the_layout_of_a_bundle_is_that_of_its_prompts(bundle):
    assert bundles.layout(bundle) == (4, "middle", True)
    assert not bundles.is_class_specific(bundle)
    assert bundles.is_class_specific(bundle._replace(positive=torch.zeros(7, 4, 32)))


def test_class_names_in_another_order_have_another_hash():
    assert bundles.class_names_sha256(["a", "b"]) != bundles.class_names_sha256(["b", "a"])


# --- refusals ------------------------------------------------------------------------------------------------------


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(PromptMismatchError, match=r"No prompts at .*prompts\.safetensors: give a finished run folder"):
        bundles.load(tmp_path)


@pytest.mark.parametrize("kept", [0, 4, 100, -1])
def test_a_truncated_file_is_refused(tmp_path, bundle, kept):
    file = saved(tmp_path, bundle)
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(PromptMismatchError, match="cannot be read as safetensors"):
        bundles.load(file)


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}])
def test_other_safetensors_are_no_bundle(tmp_path, metadata):
    file = tmp_path / "model.safetensors"
    save_file({"positive": torch.zeros(4, 32)}, file, metadata)
    with pytest.raises(PromptMismatchError, match="is no prompt bundle of this project"):
        bundles.load(file)


def test_a_bundle_without_positive_prompts_is_refused(tmp_path, bundle):
    file = tmp_path / "p.safetensors"
    save_file({"negative": bundle.negative}, file, {"negprompt": json.dumps(bundle.metadata)})
    with pytest.raises(PromptMismatchError, match="is no prompt bundle of this project"):
        bundles.load(file)


def test_the_backbone_it_was_learned_on_accepts_it(bundle, backbone):
    bundles.check(bundle, backbone)


def test_prompts_of_another_backbone_are_refused_with_the_setting_to_change(bundle, backbone):
    other = bundle._replace(metadata={**bundle.metadata, "backbone": "tiny_vit"})
    with pytest.raises(
        PromptMismatchError, match=r"learned on tiny_vit, this run uses tiny_test: set backbone=tiny_vit"
    ):
        bundles.check(other, backbone)


def test_prompts_of_other_weights_are_refused_with_both_hashes(bundle):
    other = tiny_backbone(seed=1)
    with pytest.raises(PromptMismatchError) as error:
        bundles.check(bundle, other)
    assert bundle.metadata["weights_sha256"][:12] in str(error.value)
    assert other.weights_sha256()[:12] in str(error.value)


def test_prompts_of_another_width_are_refused(bundle, backbone):
    narrow = bundle._replace(positive=bundle.positive[:, :16])
    with pytest.raises(PromptMismatchError, match="are 16 wide, tiny_test needs 32"):
        bundles.check(narrow, backbone)
