"""The adapter to open_clip: what it loads, what it refuses and with which words, and that nothing ever trains."""

from __future__ import annotations

import json
import logging

import open_clip
import pytest
import torch
from helpers import SPEC, TEXT, VISION, tiny_backbone, tiny_clip
from open_clip import pretrained as registry
from safetensors.torch import save_file
from torch import nn

from negprompt.backbones.openclip import OpenClipBackbone, OpenClipSettings
from negprompt.errors import BackboneError

MODEL, TAG = "negprompt-test", "random"


def settings(model_name=MODEL, pretrained=TAG, **values):
    return OpenClipSettings(name="some", model_name=model_name, pretrained=pretrained, **values)


@pytest.fixture
def known_model(tmp_path, monkeypatch):
    """A model of two layers that open_clip knows by name, with a tag whose weights nobody has."""
    config = {"embed_dim": 16, "vision_cfg": VISION, "text_cfg": TEXT}
    folder = tmp_path / "configs"
    folder.mkdir()
    (folder / f"{MODEL}.json").write_text(json.dumps(config))
    open_clip.add_model_config(folder)
    source = {"hf_hub": "nobody/tiny/", "mean": (0.1, 0.2, 0.3), "std": (0.4, 0.5, 0.6), "interpolation": "bilinear"}
    monkeypatch.setitem(registry._PRETRAINED, MODEL, {TAG: source})


@pytest.fixture
def weights(tmp_path):
    file = tmp_path / "weights.safetensors"
    save_file(tiny_clip(7).state_dict(), file)
    return file


# --- frozen --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("custom_text", [False, True])
def test_no_parameter_takes_a_gradient(custom_text):
    assert not any(parameter.requires_grad for parameter in tiny_backbone(custom_text=custom_text).parameters())


def test_training_mode_never_reaches_the_backbone():
    backbone = tiny_backbone()
    parent = nn.Sequential(backbone, nn.Dropout())
    parent.train()
    backbone.train(mode=True)
    assert parent.training
    assert not any(module.training for module in backbone.modules())


def test_batch_norm_statistics_stay_as_they_are():
    vision = {"image_size": 32, "layers": [1, 1, 1, 1], "width": 16, "patch_size": None}
    model = open_clip.CLIP(embed_dim=16, vision_cfg=vision, text_cfg=TEXT)
    backbone = OpenClipBackbone(model, "rn", "rn/random", SPEC)
    before = backbone.weights_sha256()
    nn.ModuleList([backbone]).train()
    backbone.encode_image(torch.randn(4, 3, 32, 32))
    assert backbone.weights_sha256() == before


def test_image_features_are_open_clips_and_not_normalised():
    backbone = tiny_backbone()
    images = torch.randn(2, 3, 32, 32)
    assert torch.equal(backbone.encode_image(images), backbone.model.encode_image(images, normalize=False))
    assert float((backbone.encode_image(images).norm(dim=1) - 1).abs().min()) > 0.01


def test_the_logit_scale_is_the_exponential_of_what_is_stored():
    assert tiny_backbone().logit_scale == pytest.approx(100.0, rel=1e-6)


# --- the hash of the weights ---------------------------------------------------------------------------------------


def test_equal_weights_have_equal_hashes_and_other_weights_have_not():
    assert tiny_backbone(0).weights_sha256() == tiny_backbone(0).weights_sha256()
    assert tiny_backbone(0).weights_sha256() != tiny_backbone(1).weights_sha256()


@pytest.mark.parametrize("name", ["logit_scale", "token_embedding.weight", "visual.conv1.weight"])
def test_one_bit_of_any_weight_changes_the_hash(name):
    backbone = tiny_backbone()
    before = backbone.weights_sha256()
    tensor = backbone.model.state_dict()[name]
    tensor.view(torch.int32).flatten()[-1] ^= 1
    assert backbone.weights_sha256() != before


# --- tokens --------------------------------------------------------------------------------------------------------


def test_tokens_with_a_zero_row_are_unknown():
    backbone = tiny_backbone()
    with torch.no_grad():
        backbone.model.token_embedding.weight[[5, 7]] = 0
    assert backbone.unknown_tokens([4, 5, 6, 7]) == [5, 7]
    assert backbone.unknown_tokens([]) == []


def test_tokenizing_gives_open_clips_tokens_without_the_two_ends():
    backbone = tiny_backbone()
    literal = open_clip.get_tokenizer("ViT-B-16")("A Fire Truck")[0].tolist()
    info = backbone.tokenizer_info
    assert [info.start, *backbone.tokenize("A Fire Truck"), info.end] == literal[:5]
    assert info.context_length == 77


# --- text towers that learned prompts cannot use -------------------------------------------------------------------


def test_a_tower_with_a_tokenizer_of_its_own_is_refused():
    with pytest.raises(BackboneError, match=r"some/tag has a tokenizer of its own.*such as ViT-B-16"):
        OpenClipBackbone(tiny_clip(custom_text=True, vocab_size=32000), "some", "some/tag", SPEC)


def test_a_tower_without_a_token_table_is_refused():
    model = tiny_clip(custom_text=True)
    del model.text.token_embedding
    with pytest.raises(BackboneError, match="has no token table"):
        OpenClipBackbone(model, "some", "some/tag", SPEC)


# --- names and activations -----------------------------------------------------------------------------------------


def test_an_unknown_model_is_refused_with_the_nearest_name():
    with pytest.raises(BackboneError, match=r"backbone\.model_name='ViT-B16' .* did you mean 'ViT-B-16'"):
        settings("ViT-B16", "openai").build()


def test_an_unknown_tag_is_refused_with_the_tags_of_the_model():
    with pytest.raises(BackboneError, match=r"backbone\.pretrained='laion2b_s34b_b88' .* 'laion2b_s34b_b88k'"):
        settings("ViT-B-16", "laion2b_s34b_b88").build()


@pytest.mark.parametrize(
    ("model_name", "tag", "fitting"),
    [
        ("ViT-B-32", "openai", "ViT-B-32-quickgelu"),
        ("RN50", "openai", "RN50-quickgelu"),
        ("ViT-B-32-quickgelu", "laion2b_s34b_b79k", "ViT-B-32"),
    ],
)
def test_another_activation_than_the_weights_were_trained_with_is_an_error(model_name, tag, fitting):
    with pytest.raises(BackboneError, match=rf"QuickGELU mismatch.*set backbone\.model_name={fitting}\.$"):
        settings(model_name, tag).build()


# --- weights that are not at hand ----------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [OSError("offline"), RuntimeError("hub")])
def test_missing_weights_say_where_to_get_them_and_where_to_put_them(tmp_path, monkeypatch, error):
    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr(open_clip, "create_model", fail)
    with pytest.raises(BackboneError) as raised:
        settings("ViT-B-16", "laion2b_s34b_b88k", weights_dir=str(tmp_path)).build()
    message = str(raised.value)
    assert "laion/CLIP-ViT-B-16-laion2B-s34B-b88K" in message
    assert str(tmp_path / "ViT-B-16--laion2b_s34b_b88k.safetensors") in message
    assert "backbone.pretrained=" in message


def test_without_a_network_the_message_is_the_same(known_model, monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    with pytest.raises(BackboneError, match=rf"/nobody/tiny'.*<paths\.weights_dir>/{MODEL}--{TAG}\.safetensors"):
        settings().build()


def test_a_weights_file_that_is_not_there_is_named():
    with pytest.raises(BackboneError, match=r"backbone\.pretrained=gone/model\.pt is no file"):
        settings("ViT-B-16", "gone/model.pt").build()


# --- weights from this machine -------------------------------------------------------------------------------------


def same_weights(backbone, seed):
    expected = tiny_clip(seed).state_dict()
    return all(torch.equal(tensor, expected[name]) for name, tensor in backbone.model.state_dict().items())


def test_a_local_file_gives_the_model_its_weights(known_model, weights):
    backbone = settings(pretrained=str(weights)).build()
    assert same_weights(backbone, 7)
    assert backbone.image_spec.size == 32


def test_a_state_dict_of_torch_is_as_good(known_model, tmp_path):
    file = tmp_path / "weights.pt"
    torch.save(tiny_clip(8).state_dict(), file)
    assert same_weights(settings(pretrained=str(file)).build(), 8)


def test_the_weights_folder_is_searched_before_the_network(known_model, weights):
    weights.rename(weights.with_name(f"{MODEL}--{TAG}.safetensors"))
    backbone = settings(weights_dir=str(weights.parent)).build()
    assert same_weights(backbone, 7)
    assert backbone.tag == f"{MODEL}/{TAG}"


def test_normalisation_and_interpolation_are_those_of_the_tag(known_model, weights):
    weights.rename(weights.with_name(f"{MODEL}--{TAG}.safetensors"))
    spec = settings(weights_dir=str(weights.parent)).build().image_spec
    assert spec == (32, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6), "bilinear")


def test_the_hash_does_not_depend_on_where_the_weights_lie(known_model, weights):
    by_path = settings(pretrained=str(weights)).build().weights_sha256()
    weights.rename(weights.with_name(f"{MODEL}--{TAG}.safetensors"))
    assert settings(weights_dir=str(weights.parent)).build().weights_sha256() == by_path


def test_weights_of_another_shape_are_refused(known_model, tmp_path):
    file = tmp_path / "wide.safetensors"
    save_file(tiny_clip(width=64).state_dict(), file)
    with pytest.raises(BackboneError, match=rf"{file} do not fit {MODEL}"):
        settings(pretrained=str(file)).build()


@pytest.mark.parametrize("kind", ["safetensors", "pt"])
@pytest.mark.parametrize("damage", ["truncated", "garbage", "empty"])
def test_damaged_weights_are_refused_in_one_message(known_model, tmp_path, kind, damage):
    whole = tmp_path / f"whole.{kind}"
    state = tiny_clip().state_dict()
    save_file(state, whole) if kind == "safetensors" else torch.save(state, whole)
    file = tmp_path / f"damaged.{kind}"
    content = {"truncated": whole.read_bytes()[:5000], "garbage": b"<html>not found</html>" * 100, "empty": b""}
    file.write_bytes(content[damage])
    with pytest.raises(BackboneError, match=r"damaged\."):
        settings(pretrained=str(file)).build()


def test_loading_warns_of_nothing(known_model, weights, caplog, recwarn):
    with caplog.at_level(logging.WARNING, logger="negprompt"):
        settings(pretrained=str(weights)).build()
    assert not [record for record in caplog.records if record.name.startswith("negprompt")]
    assert not list(recwarn)
