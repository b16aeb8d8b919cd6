"""Embedded backbones: half-precision files as single-precision models, and damage in one message."""

from __future__ import annotations

import json

import pytest
import torch
from helpers import SPEC, TEXT, VISION, tiny_clip
from safetensors.torch import load_file, save_file

from negprompt.backbones import embedded
from negprompt.backbones.embedded import EmbeddedSettings
from negprompt.errors import BackboneError

KNOWN_TOKENS = [49406, 49407, 1929, 2543]


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package that ships one tiny CLIP, stored as the real ones are."""
    text_parts = ("token_embedding", "positional_embedding", "transformer.", "ln_final", "text_projection")
    state = {name: value.half() for name, value in tiny_clip(3).state_dict().items()}
    text = {name: value for name, value in state.items() if name.startswith(text_parts)}
    table = text.pop("token_embedding.weight")
    rows = torch.tensor(KNOWN_TOKENS, dtype=torch.int32)
    (tmp_path / "tiny_x").mkdir()
    (tmp_path / "tiny_text").mkdir()
    save_file(
        {**text, "token_embedding.rows": rows, "token_embedding.values": table[rows.long()]},
        tmp_path / "tiny_text" / "text.safetensors",
    )
    save_file(
        {name: value for name, value in state.items() if not name.startswith(text_parts)},
        tmp_path / "tiny_x" / "model.safetensors",
    )
    config = {
        "model_cfg": {"embed_dim": 16, "vision_cfg": VISION, "text_cfg": TEXT},
        "preprocess_cfg": {"mean": SPEC.mean, "std": SPEC.std, "interpolation": "bicubic"},
        "text_weights": "../tiny_text/text.safetensors",
    }
    (tmp_path / "tiny_x" / "open_clip_config.json").write_text(json.dumps(config))
    monkeypatch.setattr(embedded, "_RESOURCES", tmp_path)
    return tmp_path


def test_every_weight_comes_back_in_single_precision(package):
    loaded = EmbeddedSettings(name="tiny_x").build().model.state_dict()
    for name, value in tiny_clip(3).state_dict().items():
        if name != "token_embedding.weight":
            assert loaded[name].dtype == torch.float32
            assert torch.equal(loaded[name], value.half().float()), name


def test_tokens_that_were_not_stored_are_unknown(package):
    backbone = EmbeddedSettings(name="tiny_x").build()
    assert backbone.unknown_tokens([1929, 7, 2543, 8]) == [7, 8]
    stored = backbone.model.token_embedding.weight[KNOWN_TOKENS]
    assert torch.equal(stored, tiny_clip(3).token_embedding.weight[KNOWN_TOKENS].half().float())


def test_its_image_spec_is_the_stored_one(package):
    backbone = EmbeddedSettings(name="tiny_x").build()
    assert backbone.image_spec == SPEC
    assert backbone.tag == "embedded/tiny_x"


def test_an_unknown_name_is_answered_with_those_in_the_package(package):
    with pytest.raises(BackboneError, match=r"backbone\.name='tiny_y' is no embedded backbone; .*tiny_x"):
        EmbeddedSettings(name="tiny_y").build()


@pytest.mark.parametrize("file", ["tiny_x/model.safetensors", "tiny_text/text.safetensors"])
@pytest.mark.parametrize("damage", ["truncated", "missing", "a tensor lacks"])
def test_damaged_weights_are_one_message(package, file, damage):
    path = package / file
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:1000])
    elif damage == "missing":
        path.unlink()
    else:
        tensors = load_file(path)
        del tensors[sorted(tensors)[0]]
        save_file(tensors, path)
    with pytest.raises(BackboneError, match=r"(?s)The weights in .*tiny_x are damaged .*: install the package again"):
        EmbeddedSettings(name="tiny_x").build()


@pytest.mark.parametrize("lacking", ["token_embedding.rows", "token_embedding.values"])
def test_a_token_table_that_lacks_a_half_is_damage_too(package, lacking):
    path = package / "tiny_text" / "text.safetensors"
    tensors = load_file(path)
    del tensors[lacking]
    save_file(tensors, path)
    with pytest.raises(BackboneError, match="are damaged"):
        EmbeddedSettings(name="tiny_x").build()
