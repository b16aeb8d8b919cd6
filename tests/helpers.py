"""A random CLIP of two layers, generated pictures in webdataset shards, and requests on them."""

from __future__ import annotations

import colorsys
import functools
import hashlib
import io
import json
import signal
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from PIL import Image
from torch import nn

from negprompt import stopping
from negprompt.api import Request
from negprompt.backbones.base import BackboneSettings
from negprompt.backbones.openclip import OpenClipBackbone
from negprompt.backbones.text import TextPath
from negprompt.data.base import Augmentation
from negprompt.data.icons import IconsID, IconsOOD
from negprompt.features.datamodule import FeatureDataModule, FeatureDataset
from negprompt.features.settings import FeatureSettings
from negprompt.methods.coop import CoOp, CoOpSettings
from negprompt.methods.negprompt import NegPromptSettings
from negprompt.scores.choice import ScoreChoice, choose
from negprompt.scores.energy import energy
from negprompt.scores.max_logit import max_logit
from negprompt.scores.mcm import mcm
from negprompt.scores.msp import msp
from negprompt.scores.negprompt import negprompt
from negprompt.training.sampler import EpochBatchSampler
from negprompt.training.schedule import OptimizerSettings
from negprompt.training.trainer import TrainerSettings
from negprompt.types import ImageSet, ImageSpec

# --- backbones -----------------------------------------------------------------------------------------------------

SPEC = ImageSpec(32, (0.48, 0.46, 0.41), (0.27, 0.26, 0.28), "bicubic")
VISION = {"image_size": 32, "layers": 2, "width": 32, "patch_size": 8, "head_width": 16}
TEXT = {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2}


def tiny_clip(seed: int = 0, *, custom_text: bool = False, **text: Any) -> nn.Module:
    """A random open_clip model in either layout: text tower at the top, or in `.text`."""
    cls = open_clip.CustomTextCLIP if custom_text else open_clip.CLIP
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model: nn.Module = cls(embed_dim=16, vision_cfg=VISION, text_cfg={**TEXT, **text})
        with torch.no_grad():
            model.logit_scale.fill_(np.log(100.0))  # open_clip starts at 14; the losses are written for about 100
            # Fresh attention is so weak that all sentences are one; doubled, their mean cosine is about 0.6.
            for block in getattr(model, "text", model).transformer.resblocks:
                block.attn.in_proj_weight.mul_(2)
                block.attn.out_proj.weight.mul_(4)
    return model


def tiny_backbone(seed: int = 0, *, custom_text: bool = False, text_path: TextPath = "auto") -> OpenClipBackbone:
    return OpenClipBackbone(tiny_clip(seed, custom_text=custom_text), "tiny_test", "tiny/random", SPEC, text_path)


class TinySettings(BackboneSettings):
    """Settings of the random CLIP, as a yaml would name them."""

    name: str = "tiny_test"
    init_seed: int = 0

    def build(self) -> OpenClipBackbone:
        return tiny_backbone(self.init_seed)


# --- pictures and shards -------------------------------------------------------------------------------------------

CLASS_NAMES = (
    "anchor", "bell", "cactus", "drum", "eagle", "fire truck", "guitar", "hammer", "ice_cream", "jar",
    "kite", "lamp", "mushroom", "nest", "owl", "piano", "queen", "robot", "saxophone", "tent",
)  # fmt: skip
OOD_NAMES = {"near": ("violin", "wagon"), "symbols": ("plus", "minus"), "logos": ("acme",), "flags": ("utopia",)}
SHOTS, TESTS, OOD_PICTURES = 4, 2, 6


def picture(hue: float, seed: int, size: tuple[int, int] = (36, 40)) -> Image.Image:
    """A box of one hue somewhere on noise: a class is told by its hue."""
    rng = np.random.default_rng([seed, round(hue * 1000)])
    pixels = rng.integers(200, 256, (*size, 3))
    top, left = rng.integers(0, 10, 2)
    pixels[top : top + 26, left : left + 28] = 255 * np.array(colorsys.hsv_to_rgb(hue % 1.0, 0.9, 0.9))
    return Image.fromarray(pixels.astype(np.uint8))


def encoded(image: Image.Image, kind: str = "webp") -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **({"lossless": True} if kind == "webp" else {}))
    return buffer.getvalue()


def write_shard(path: Path, members: Sequence[tuple[str, bytes]]) -> str:
    """Write files into a tar; returns its sha256."""
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return hashlib.sha256(path.read_bytes()).hexdigest()


def sample(key: str, name: str, image: bytes) -> list[tuple[str, bytes]]:
    """The two members of one picture."""
    return [(f"{key}.json", json.dumps({"name": name}).encode()), (f"{key}.webp", image)]


def write_benchmark(
    folder: Path, class_names: Sequence[str] = CLASS_NAMES, *, ood_seed: int = 0, shards: Mapping[str, Any] = {}
) -> Path:
    """Shards and index in the format of `icons`; `shards` replaces the members of some of them."""
    folder.mkdir(parents=True, exist_ok=True)
    hues = {name: place / len(class_names) for place, name in enumerate(class_names)}
    content: dict[str, list[tuple[str, bytes]]] = {}
    for number, (part, count) in enumerate({"train": SHOTS, "val": 1, "test": TESTS}.items()):
        content[f"id_{part}.tar"] = [
            member
            for name in class_names
            for place in range(count)
            for member in sample(f"{part}-{name}-{place}", name, encoded(picture(hues[name], 10 * number + place)))
        ]
    for number, (ood, names) in enumerate(OOD_NAMES.items()):
        for part_number, part in enumerate(("val", "test")):
            first = 1000 + 100 * ood_seed + 50 * part_number
            content[f"{ood}_{part}.tar"] = [
                member
                for place in range(OOD_PICTURES)
                for member in sample(
                    f"{ood}-{part}-{place}",
                    names[place % len(names)],
                    encoded(picture(0.03 + 0.2 * number, first + place, (33, 33))),
                )
            ]
    content |= shards
    index = {
        "class_names": list(class_names),
        "shards": {name: {"sha256": write_shard(folder / name, members)} for name, members in content.items()},
        "hard_splits": {"1": {"id": list(class_names[:6]), "ood": [*class_names[6:9], "violin"]}},
    }
    (folder / "benchmark.json").write_text(json.dumps(index))
    return folder


def write_captions(folder: Path, class_names: Sequence[str] = CLASS_NAMES, *, shards: int = 2, pairs: int = 24) -> Path:
    """Shards of pictures with captions about their hue; every second caption lies in the json."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(shards):
        members = []
        for place in range(pairs):
            name = class_names[(number + place) % len(class_names)]
            hue = class_names.index(name) / len(class_names)
            text, key = f"a picture of a {name}", f"{place:04d}"
            members.append((f"{key}.webp", encoded(picture(hue, 5000 + 100 * number + place))))
            fields = {"caption": text} if place % 2 else {}
            members.append((f"{key}.json", json.dumps(fields).encode()) if fields else (f"{key}.txt", text.encode()))
        write_shard(folder / f"captions-{number:03d}.tar", members)
    return folder


def image_set(count: int, name: str = "some", num_classes: int = 4) -> ImageSet:
    """A set in memory; picture i has class i mod `num_classes`."""
    return ImageSet(
        name,
        [f"{name}-{place}" for place in range(count)],
        [encoded(picture(place % num_classes / num_classes, place)) for place in range(count)],
        [place % num_classes for place in range(count)],
    )


def feature_data(
    num_samples: int, batch_size: int, *, views: int = 3, seed: int = 1, regions: int | None = None
) -> FeatureDataModule:
    """Random features of four classes, one direction each, in training batches; with those of regions where asked."""
    generator = torch.Generator().manual_seed(seed)
    labels = [place % 4 for place in range(num_samples)]
    directions = torch.randn(4, 16, generator=generator)
    features = directions[labels] + 0.3 * torch.randn(views, num_samples, 16, generator=generator)
    batches = functools.partial(EpochBatchSampler, batch_size=batch_size, seed=seed)
    local = None if regions is None else torch.randn(views, num_samples, regions, 16, generator=generator)
    return FeatureDataModule(FeatureDataset(features, labels, local), {}, batches)


# --- modules and requests ------------------------------------------------------------------------------------------

QUIET = TrainerSettings(accelerator="cpu", progress_bar=False)
SCORES = {"mcm": mcm, "msp": msp, "max_logit": max_logit, "energy": energy, "negprompt": negprompt}


def scores(*names: str) -> dict[str, ScoreChoice]:
    return {name: choose(name, SCORES[name], {}, f"negprompt.scores.{name}.{name}") for name in names or SCORES}


def coop(**changes: Any) -> CoOpSettings:
    recipe = OptimizerSettings(lr=2e-4, epochs=3, batch_size=16)
    return CoOpSettings(**{"name": "coop", "optimizer": recipe, **changes})


@functools.cache
def shared_backbone() -> OpenClipBackbone:
    return tiny_backbone()


def small_coop(recipe: OptimizerSettings) -> CoOp:
    """CoOp on the first four class names; always the same start."""
    return coop(optimizer=recipe).module(shared_backbone(), CLASS_NAMES[:4], 0, None)


def two_stage(**changes: Any) -> NegPromptSettings:
    """NegPrompt on `coop()`; what concerns the prompts' layout goes to both stages."""
    shared = ("num_context_tokens", "class_specific", "class_token_position", "full_stop", "context_init")
    positive = changes.pop("positive", None) or coop(**{key: changes[key] for key in shared if key in changes})
    defaults = {
        "name": "negprompt",
        "optimizer": OptimizerSettings(lr=1e-3, epochs=3, batch_size=16),
        "negative_noise": 0.02,
        "nis": "multilabel_margin",
        "nnd_weight": 1.0,
    }
    return NegPromptSettings(**{**defaults, **changes, "positive": positive})


def request(root: Path, runs_dir: Path, *, seed: int = 1, **changes: Any) -> Request:
    """A small run; names of `IconsID` (num_shots, class_fraction, ...) go to the data, the rest to the request."""
    data = {key: changes.pop(key) for key in list(changes) if key in IconsID.model_fields}
    defaults = {
        "backbone": TinySettings(),
        "data": IconsID(
            **{"name": "icons", "root": str(root), "num_shots": 3, "augmentation": Augmentation(scale_min=0.5), **data}
        ),
        "ood": IconsOOD(name="icons", root=str(root)),
        "method": two_stage(),
        "scores": scores(),
        "stage_scores": scores(),
        "features": FeatureSettings(views=3),
        "trainer": QUIET,
        "cut_scores": frozenset(SCORES),
    }
    return Request(seed=seed, runs_dir=runs_dir, **{**defaults, **changes})


@contextmanager
def listening() -> Iterator[None]:
    """Signals stop what runs in the body, as in a command."""
    before = {number: signal.getsignal(number) for number in stopping.SIGNALS}
    stopping.listen()
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        stopping.forget()
