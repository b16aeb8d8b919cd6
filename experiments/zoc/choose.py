"""Size and learning rate of the decoder, chosen by the loss of captions that were not trained on. No test picture.

python experiments/zoc/choose.py [BUILD]     # BUILD: folder of caption shards, experiments/clipn/build by default
"""

from __future__ import annotations

import functools
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from negprompt.backbones.base import FrozenBackbone
from negprompt.backbones.embedded import EmbeddedSettings
from negprompt.data.base import Augmentation
from negprompt.data.caption_loader import CaptionBatch, CaptionDataset
from negprompt.data.captions import load_captions
from negprompt.methods.caption_adapter import framed
from negprompt.methods.zoc_decoder import DecoderTraining, image_width, vocabulary_of
from negprompt.prompts.caption_decoder import CaptionDecoder, DecoderSettings
from negprompt.training.schedule import AdamWSettings
from negprompt.types import SampleIndex

BUILD = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1] / "clipn" / "build"
ALL, TRAINED, HELD_OUT = (
    str(BUILD / f"captions-0000{part}.tar") for part in ("{00..25}", "{00..07}", "26")
)  # the vocabulary is that of the whole training
STEPS, BATCH = 300, 256
CHOICES = [(128, 2, 1e-3), (128, 2, 3e-3)]  # width, layers, learning rate


class FromFeatures(DecoderTraining):
    """Gets image features in place of pictures."""

    def encode_image(self, images: Tensor) -> Tensor:
        """The features themselves."""
        return images


def features(backbone: FrozenBackbone, shards: str, vocabulary: set[int]) -> dict[str, Tensor]:
    """One batch of all pairs of some shards whose tokens are known, with features in place of pictures."""
    captions = load_captions(shards, None, 1.0, "stop")
    data = CaptionDataset(
        captions, backbone.image_spec, Augmentation(scale_min=0.9, flip=0.0), 1, functools.partial(framed, backbone)
    )
    known = [row for row in range(len(data)) if set(framed(backbone, captions.text(row))[1:]) <= vocabulary]
    print(f"{shards}: {len(data)} pairs, {len(data) - len(known)} with tokens that training has not")
    blocks = []
    for part in np.array_split(known, max(1, len(known) // 512)):
        block = dict(data.__getitems__([SampleIndex(int(row), 0) for row in part]))
        with torch.no_grad():
            block["image"] = backbone.encode_image(block["image"])
        block["tokens"] = torch.nn.functional.pad(block["tokens"], (0, 77 - block["tokens"].shape[1]))
        blocks.append(block)
    return {name: torch.cat([block[name] for block in blocks]) for name in ("image", "tokens", "end", "row")}


def some(pairs: dict[str, Tensor], rows: Tensor) -> CaptionBatch:
    """Some of the pairs, as long as the longest of them."""
    batch = {name: value[rows] for name, value in pairs.items()}
    batch["tokens"] = batch["tokens"][:, : int(batch["end"].max()) + 1]
    return batch  # type: ignore[return-value]


@torch.no_grad()
def held_out_loss(module: DecoderTraining, pairs: dict[str, Tensor]) -> float:
    total = [
        float(module.loss(some(pairs, rows))[0]) * len(rows) for rows in torch.arange(len(pairs["end"])).split(256)
    ]
    return sum(total) / len(pairs["end"])


def main() -> None:
    backbone = EmbeddedSettings(name="tiny_rn").build()
    vocabulary = vocabulary_of(load_captions(ALL, None, 1.0, "stop"), backbone)
    start = time.perf_counter()
    train, held_out = (features(backbone, shards, set(vocabulary.tolist())) for shards in (TRAINED, HELD_OUT))
    print(f"{len(vocabulary)} tokens; features in {time.perf_counter() - start:.0f} s")
    for width, layers, lr in CHOICES:
        start, generator = time.perf_counter(), torch.Generator().manual_seed(1)
        decoder = CaptionDecoder(
            vocabulary, image_width(backbone), 76, DecoderSettings(width=width, layers=layers, heads=4), seed=1
        )
        recipe = AdamWSettings(lr=lr, weight_decay=0.05, batch_size=BATCH)
        module = FromFeatures(backbone, decoder, recipe, STEPS)
        made = module.configure_optimizers()
        optimizer, schedule = made["optimizer"], made["lr_scheduler"]["scheduler"]
        order = torch.cat([torch.randperm(len(train["end"]), generator=generator) for _ in range(4)])
        for step in range(STEPS):
            loss, _ = module.loss(some(train, order[step * BATCH : (step + 1) * BATCH]))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        print(
            f"width {width}, layers {layers}, lr {lr}: held-out loss {held_out_loss(module, held_out):.3f}, training "
            f"{held_out_loss(module, some(train, torch.arange(2560))):.3f}, {time.perf_counter() - start:.0f} s",
            flush=True,
        )


if __name__ == "__main__":
    main()
