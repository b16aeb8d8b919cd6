"""Holds for every backbone that has a yaml in conf/backbone: nothing to list here when one is added."""

from __future__ import annotations

import copy
import importlib
from pathlib import Path

import open_clip
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
import yaml
from PIL import Image

from negprompt.backbones.openclip import OpenClipSettings
from negprompt.data.transforms import test_image as pixels_of
from negprompt.prompts.context import initial_context
from negprompt.prompts.encoder import PromptEncoder
from negprompt.prompts.template import PromptLayout

ROOT = Path(__file__).parents[2]
NODES = {path.stem: yaml.safe_load(path.read_text()) for path in sorted((ROOT / "conf" / "backbone").glob("*.yaml"))}
NAMES = ("dog", "fire truck", "wrist watch")


def settings(name):
    """The settings of a yaml; what stands open in it (`???`) is filled with a small choice."""
    node = dict(NODES[name])
    module, cls = node.pop("_target_").rsplit(".", 1)
    open_values = {"model_name": "ViT-B-32", "pretrained": "laion2b_s34b_b79k"}
    values = {key: open_values[key] if value == "???" else value for key, value in node.items()}
    values |= {"text_path": "auto", "text_chunk": "auto"} | ({"weights_dir": None} if "weights_dir" in node else {})
    return getattr(importlib.import_module(module), cls)(**values)


def shrunk(model_name):
    """A random model of the same architecture, thin and shallow: the same code for a thousandth of the weights."""
    config = copy.deepcopy(open_clip.get_model_config(model_name))
    deep = isinstance(config["vision_cfg"]["layers"], list)
    config["vision_cfg"] |= {"layers": [1, 1, 1, 1], "width": 8} if deep else {"layers": 1, "width": 64}
    config["text_cfg"] |= {"layers": 2, "width": 32, "heads": 2}
    custom = config.pop("custom_text", False)
    torch.manual_seed(0)
    return (open_clip.CustomTextCLIP if custom else open_clip.CLIP)(**config)


@pytest.fixture(scope="module", params=NODES)
def backbone(request):
    chosen = settings(request.param)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(open_clip, "create_model", lambda model_name, **_: shrunk(model_name))
        return chosen.build()


@torch.no_grad()
def test_prompts_of_words_are_open_clips_sentences(backbone):
    encoder = PromptEncoder(backbone, NAMES, PromptLayout(4))
    prompts = encoder(backbone, initial_context(backbone, 4, "words", "a photo of a", seed=0))
    sentences = open_clip.SimpleTokenizer()([f"a photo of a {name}" for name in NAMES])
    assert float((prompts - F.normalize(backbone.model.encode_text(sentences), dim=-1)).abs().max()) < 1e-5


@torch.no_grad()
def test_its_own_image_spec_makes_pictures_it_can_read(backbone):
    image = pixels_of(Image.new("RGB", (50, 70), "white"), backbone.image_spec)
    features = backbone.encode_image(image.unsqueeze(0))
    assert image.shape == (3, backbone.image_spec.size, backbone.image_spec.size)
    assert bool(torch.isfinite(features).all())
    assert features.dim() == 2


@torch.no_grad()
def test_images_and_prompts_share_one_space(backbone):
    image = backbone.encode_image(torch.zeros(1, 3, backbone.image_spec.size, backbone.image_spec.size))
    encoder = PromptEncoder(backbone, NAMES, PromptLayout(4))
    prompts = encoder(backbone, initial_context(backbone, 4, "random", "", seed=0))
    assert image.shape[1] == prompts.shape[1]


@torch.no_grad()
def test_an_image_does_not_depend_on_its_batch(backbone):
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(3, 3, backbone.image_spec.size, backbone.image_spec.size, generator=generator)
    together, alone = backbone.encode_image(images)[1], backbone.encode_image(images[1:2])[0]
    assert float((together - alone).abs().max()) < 1e-4 * float(alone.abs().max())


def test_it_stays_frozen_and_in_evaluation_mode(backbone):
    backbone.train()
    assert not any(module.training for module in backbone.modules())
    assert not any(parameter.requires_grad for parameter in backbone.parameters())


def test_its_name_is_that_of_its_yaml(backbone):
    assert backbone.name in NODES


def test_the_tag_says_what_was_loaded(backbone):
    chosen = settings(backbone.name)
    if isinstance(chosen, OpenClipSettings):
        assert backbone.tag == f"{chosen.model_name}/{chosen.pretrained}"
    else:
        assert backbone.tag == f"embedded/{chosen.name}"


@pytest.mark.parametrize("update", [{"text_path": "plain"}, {"text_chunk": 3}])
def test_how_text_is_encoded_stays_out_of_the_request_hash(backbone, update):
    chosen = settings(backbone.name)
    assert chosen.model_copy(update=update).hash_payload() == chosen.hash_payload()
    assert chosen.model_copy(update=update) != chosen
