"""Trained weights as the files the package ships: towers as safetensors, and open_clip configurations.

python experiments/tiny_clip/export.py tiny_lit      # also writes the text tower that all three share
python experiments/tiny_clip/export.py tiny_rn
python experiments/tiny_clip/export.py tiny_vit
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from distil import load_student
from lit import load_trained
from load import RESOURCES
from open_clip import CLIP
from safetensors.torch import save_file
from torch import Tensor
from towers import build, config

SOT, EOT = 49406, 49407


def compact(name: str, weight: Tensor) -> Tensor:
    """Matrices in half precision; vectors (biases, norms, running statistics) and scalars as they are."""
    halve = weight.is_floating_point() and weight.ndim >= 2
    if halve and weight.abs().max() > torch.finfo(torch.float16).max:
        raise ValueError(f"{name} does not fit half precision.")
    return (weight.half() if halve else weight).detach().clone().contiguous()


def export_image_tower(name: str, model: CLIP, resources: Path = RESOURCES) -> None:
    """Write ``<name>/open_clip_config.json`` and ``<name>/model.safetensors``."""
    folder = resources / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "open_clip_config.json").write_text(json.dumps(config(name), indent=2) + "\n")
    state = {key: compact(key, weight) for key, weight in model.state_dict().items() if key.startswith("visual.")}
    _save(state, folder / "model.safetensors")


def export_text_tower(model: CLIP, token_seen: Tensor, resources: Path = RESOURCES) -> None:
    """Write ``tiny_text/text.safetensors``: of the token table only the rows that occurred in training.

    Args:
        model: the CLIP whose text tower it is.
        token_seen: (49408,) bool, true where a token occurred; start and end of text always count.
        resources: where the folder goes.
    """
    folder = resources / "tiny_text"
    folder.mkdir(parents=True, exist_ok=True)
    seen = token_seen.clone()
    seen[[SOT, EOT]] = True
    rows = seen.nonzero().squeeze(1)
    state = {key: weight for key, weight in model.state_dict().items() if not key.startswith("visual.")}
    table = state.pop("token_embedding.weight")
    stored = {key: compact(key, weight) for key, weight in state.items()}
    stored["token_embedding.rows"] = rows.to(torch.int32)
    stored["token_embedding.values"] = table[rows].half()
    _save(stored, folder / "text.safetensors")


def _save(state: dict[str, Tensor], path: Path) -> None:
    partial = path.with_suffix(".partial")
    save_file(state, partial)
    partial.rename(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("backbone", choices=["tiny_lit", "tiny_rn", "tiny_vit"])
    parser.add_argument("--run", help="name of the training run; lit, or the student's name, by default")
    parser.add_argument("--resources", type=Path, default=RESOURCES)
    arguments = parser.parse_args()
    if arguments.backbone == "tiny_lit":
        trained = load_trained(arguments.run or "lit")
        model = trained.folded()
        export_text_tower(model, trained.token_seen, arguments.resources)
    else:
        model = build(arguments.backbone)
        model.visual = load_student(arguments.backbone, arguments.run or arguments.backbone)
    export_image_tower(arguments.backbone, model, arguments.resources)


if __name__ == "__main__":
    main()
