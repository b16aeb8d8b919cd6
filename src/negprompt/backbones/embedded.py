"""The trained CLIPs that ship with the package (`resources/README.md` says how they are stored)."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from negprompt.backbones.base import BackboneSettings
from negprompt.backbones.openclip import OpenClipBackbone, from_config, shape_of
from negprompt.backbones.weights import Shape
from negprompt.errors import BackboneError, nearest
from negprompt.types import ImageSpec

_RESOURCES = Path(str(resources.files("negprompt.backbones") / "resources"))
_CONFIG = "open_clip_config.json"
_EMBEDDED = "embedded/"


def shipped_adapter(given: str, method: str) -> Path | None:
    """What the package has of a method beside an embedded backbone, None for other names.

    Args:
        given: "embedded/<backbone>", the tag of the backbone; anything else is not ours.
        method: for example clipn.
    """
    if not given.startswith(_EMBEDDED):
        return None
    file = _RESOURCES / given.removeprefix(_EMBEDDED) / f"{method}.safetensors"
    return file if file.is_file() else None


class EmbeddedSettings(BackboneSettings):
    """One of the embedded CLIPs: tiny_rn, tiny_lit or tiny_vit."""

    def check(self) -> None:
        """Refuse a name that the package has no weights of."""
        if not (_RESOURCES / self.name / _CONFIG).is_file():
            known = [path.parent.name for path in _RESOURCES.glob(f"*/{_CONFIG}")]
            msg = f"backbone.name={self.name!r} is no embedded backbone; {nearest(self.name, known)}."
            raise BackboneError(msg)

    def shape(self) -> Shape | None:
        """Of the model that the package's configuration describes."""
        self.check()
        config = json.loads((_RESOURCES / self.name / _CONFIG).read_text())
        return shape_of(lambda: from_config(config["model_cfg"], None))

    def build(self) -> OpenClipBackbone:
        """Load configuration and weights from the package."""
        self.check()
        folder = _RESOURCES / self.name
        config = json.loads((folder / _CONFIG).read_text())
        vocabulary = config["model_cfg"]["text_cfg"]["vocab_size"]
        try:
            state = {
                **_tensors(folder / "model.safetensors"),
                **_text_state(folder / config["text_weights"], vocabulary),
            }
            model = from_config(config["model_cfg"], state)
        except (SafetensorError, OSError, RuntimeError, KeyError) as error:
            msg = f"The weights in {folder} are damaged ({error}): install the package again."
            raise BackboneError(msg) from error
        preprocess = config["preprocess_cfg"]
        spec = ImageSpec(
            config["model_cfg"]["vision_cfg"]["image_size"],
            tuple(preprocess["mean"]),
            tuple(preprocess["std"]),
            preprocess["interpolation"],
        )
        return OpenClipBackbone(model, self.name, f"{_EMBEDDED}{self.name}", spec, self.text_path, self.text_chunk)


def _tensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a file, half precision made single."""
    return {key: value.float() if value.is_floating_point() else value for key, value in load_file(path).items()}


def _text_state(path: Path, vocabulary: int) -> dict[str, Tensor]:
    """The text tower: token rows that occurred in training, scattered into a table of zeros."""
    state = _tensors(path)
    rows, values = state.pop("token_embedding.rows").long(), state.pop("token_embedding.values")
    table = torch.zeros(vocabulary, values.shape[1])
    table[rows] = values
    return {**state, "token_embedding.weight": table}
