"""The embedded CLIPs as plain open_clip reads them: the package's own adapter is not asked."""

from __future__ import annotations

import io
import json
import tarfile
from functools import lru_cache
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F  # noqa: N812
from torchvision.transforms import Compose, Normalize, Resize, ToTensor

RESOURCES = Path(__file__).parents[2] / "src" / "negprompt" / "backbones" / "resources"
ICONS = RESOURCES.parents[1] / "data" / "resources" / "icons"
NAMES = sorted(path.parent.name for path in RESOURCES.glob("*/open_clip_config.json"))
SOT, EOT = 49406, 49407


def config_of(name: str) -> dict:
    return json.loads((RESOURCES / name / "open_clip_config.json").read_text())


def text_file() -> dict[str, Tensor]:
    return load_file(RESOURCES / "tiny_text" / "text.safetensors")


@lru_cache
def clip(name: str) -> open_clip.CLIP:
    config = config_of(name)
    state = load_file(RESOURCES / name / "model.safetensors") | load_file(RESOURCES / name / config["text_weights"])
    rows, values = state.pop("token_embedding.rows"), state.pop("token_embedding.values")
    table = torch.zeros(config["model_cfg"]["text_cfg"]["vocab_size"], values.shape[1])
    table[rows.long()] = values.float()
    state["token_embedding.weight"] = table
    model = open_clip.CLIP(**config["model_cfg"])
    model.load_state_dict(state, strict=True)
    return model.eval()


@torch.inference_mode()
def text_features(name: str, texts: list[str]) -> Tensor:
    return clip(name).encode_text(open_clip.get_tokenizer("ViT-B-32")(texts), normalize=True)


def test_all_weights_together_fit_thirty_megabytes():
    assert sum(path.stat().st_size for path in RESOURCES.rglob("*.safetensors")) <= 30e6


@pytest.mark.parametrize("name", NAMES)
def test_a_backbone_is_whole_and_says_where_it_comes_from(name):
    clip(name)
    card = (RESOURCES / name / "MODEL_CARD.md").read_text()
    assert all(word in card for word in ("Data", "licence", "Seed", "Limits"))


@pytest.mark.parametrize("name", NAMES)
def test_pictures_and_texts_meet_in_one_space(name):
    cfg = config_of(name)["model_cfg"]
    size = cfg["vision_cfg"]["image_size"]
    with torch.inference_mode():
        images = clip(name).encode_image(torch.zeros(2, 3, size, size), normalize=True)
    texts = text_features(name, ["a photo of a cat", "an icon of a wrench."])
    assert images.shape == texts.shape == (2, cfg["embed_dim"])
    for features in (images, texts):
        assert features.dtype == torch.float32
        assert torch.allclose(features.norm(dim=1), torch.ones(2), atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_a_text_may_have_seventy_seven_tokens(name):
    features = text_features(name, ["cat " * 200])
    assert clip(name).context_length == 77
    assert torch.isfinite(features).all()


def test_the_default_and_its_teacher_ship():
    assert {"tiny_lit", "tiny_rn"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_backbone_reads_the_same_prompts(name):
    texts = ["a photo of a cat", "wrench"]
    assert torch.equal(text_features(name, texts), text_features("tiny_rn", texts))


def test_only_tokens_that_occurred_have_a_vector():
    rows = text_file()["token_embedding.rows"].long()
    lengths = clip("tiny_rn").token_embedding.weight.norm(dim=1)
    assert torch.equal(rows, rows.unique())
    assert {SOT, EOT} <= set(rows.tolist())
    assert torch.equal(lengths.nonzero().squeeze(1), rows)
    assert len(rows) < len(lengths) / 2


def test_the_class_names_of_the_benchmark_occurred():
    rows = set(text_file()["token_embedding.rows"].tolist())
    for class_name in json.loads((ICONS / "benchmark.json").read_text())["class_names"]:
        missing = set(open_clip.get_tokenizer("ViT-B-32").encode(class_name)) - rows
        assert not missing, class_name


@pytest.mark.parametrize(("name", "least"), [("tiny_lit", 0.5), ("tiny_rn", 0.6)])
def test_zero_shot_recognises_the_validation_pictures(name, least):
    images, names = validation_pictures(name)
    class_names = json.loads((ICONS / "benchmark.json").read_text())["class_names"]
    texts = text_features(name, [f"a photo of a {class_name}" for class_name in class_names])
    with torch.inference_mode():
        features = F.normalize(clip(name).encode_image(images), dim=1)
    predicted = (features @ texts.T).argmax(dim=1).numpy()
    labels = np.array([class_names.index(class_name) for class_name in names])
    assert (predicted == labels).mean() >= least


def validation_pictures(name: str) -> tuple[Tensor, list[str]]:
    preprocess, size = config_of(name)["preprocess_cfg"], clip(name).visual.image_size
    size = size if isinstance(size, int) else size[0]
    transform = Compose([
        Resize(size, interpolation=Image.Resampling.BICUBIC),
        ToTensor(),
        Normalize(preprocess["mean"], preprocess["std"]),
    ])  # fmt: skip
    images, names = [], []
    with tarfile.open(ICONS / "id_val.tar") as archive:
        members = {member.name: archive.extractfile(member).read() for member in archive}
    for key in sorted(name.removesuffix(".json") for name in members if name.endswith(".json")):
        images.append(transform(Image.open(io.BytesIO(members[f"{key}.webp"])).convert("RGB")))
        names.append(json.loads(members[f"{key}.json"])["name"])
    return torch.stack(images), names
