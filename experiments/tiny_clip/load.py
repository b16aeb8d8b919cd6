"""How a folder of ``src/negprompt/backbones/resources`` becomes an open_clip CLIP, with nothing else around it.

python experiments/tiny_clip/load.py tiny_rn "a photo of a cat"
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import open_clip
import torch
from safetensors.torch import load_file
from torch import Tensor

RESOURCES = Path(__file__).parents[2] / "src" / "negprompt" / "backbones" / "resources"


def text_state(path: Path, vocab_size: int) -> dict[str, Tensor]:
    """The text tower's state dict: the stored token rows scattered into a table of zeros."""
    stored = {key: value.float() for key, value in load_file(path).items() if key != "token_embedding.rows"}
    rows = load_file(path)["token_embedding.rows"].long()
    values = stored.pop("token_embedding.values")
    table = torch.zeros(vocab_size, values.shape[1])
    table[rows] = values
    return stored | {"token_embedding.weight": table}


def image_state(path: Path) -> dict[str, Tensor]:
    """The image tower's state dict; what is stored in half precision becomes single."""
    return {key: value.float() if value.is_floating_point() else value for key, value in load_file(path).items()}


def load(name: str, resources: Path = RESOURCES) -> tuple[open_clip.CLIP, dict[str, object]]:
    """The CLIP of folder ``name`` in eval mode, and its ``preprocess_cfg``."""
    folder = resources / name
    config = json.loads((folder / "open_clip_config.json").read_text())
    model = open_clip.CLIP(**config["model_cfg"])
    state = image_state(folder / "model.safetensors")
    state |= text_state(folder / config["text_weights"], config["model_cfg"]["text_cfg"]["vocab_size"])
    model.load_state_dict(state, strict=True)
    return model.eval(), config["preprocess_cfg"]


def main() -> None:
    model, preprocess = load(sys.argv[1])
    tokens = open_clip.get_tokenizer("ViT-B-32")(sys.argv[2:])
    with torch.inference_mode():
        text_features = model.encode_text(tokens, normalize=True)
    print(f"image size {model.visual.image_size}, {preprocess}, logit scale {model.logit_scale.exp().item():.1f}")
    print(text_features @ text_features.T)


if __name__ == "__main__":
    main()
