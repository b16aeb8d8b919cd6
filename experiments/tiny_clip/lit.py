"""Locked-image tuning: a linear map of the locked features and a small text tower learn which name is whose picture.

nice -n 5 python experiments/tiny_clip/lit.py --run lit
"""

from __future__ import annotations

import argparse
from collections import Counter, defaultdict
from collections.abc import Callable

import lightning as L  # noqa: N812
import numpy as np
import torch
from captions import caption, encode_by_length
from features import tuning_rows, view_path
from fitting import adamw, fit, warm_cosine
from locked_tower import WIDTH, locked_trunk
from pictures import BUILD, load
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from towers import EMBED_DIM, TEXT, build

SEED, BATCH = 1, 1024
LARGEST_SCALE = 100.0


class NamedFeatures:
    """Batches of distinct names, each with one stored view of one of its pictures and one caption.

    Args:
        min_pictures: names drawn less often are left out.
        views: number of augmented views beside the picture itself.
        speak: the word for a name in a caption, from the name and a generator.
    """

    def __init__(
        self, min_pictures: int, views: int = 0, speak: Callable[[str, np.random.Generator], str] = lambda name, _: name
    ) -> None:
        self.speak = speak
        names = load().names
        counts = Counter(names)
        self.features = np.load(view_path(0), mmap_mode="r")
        self.views = {int(row): place for place, row in enumerate(tuning_rows(load()))}
        self.augmented = [np.load(view_path(v), mmap_mode="r") for v in range(1, views + 1)]
        self.rows: dict[str, list[int]] = defaultdict(list)
        for row, name in enumerate(names):
            if counts[name] >= min_pictures:
                self.rows[name].append(row)
        self.names = list(self.rows)
        weights = np.array([len(self.rows[name]) for name in self.names]) ** 0.6
        self.share = weights / weights.sum()

    def statistics(self) -> tuple[Tensor, Tensor]:
        """Mean and spread (1280,) of the features, which standardise them."""
        features = torch.from_numpy(np.array(self.features)).float()
        return features.mean(dim=0), features.std(dim=0) + 1e-4

    def batch(self, step: int) -> tuple[Tensor, list[list[int]]]:
        """Features (B, 1280) and captions of one step."""
        random = np.random.default_rng((SEED, step))
        drawn = random.choice(len(self.names), size=BATCH, replace=False, p=self.share)
        names = [self.names[i] for i in drawn]
        features = np.stack([self._view(int(random.choice(self.rows[name])), random) for name in names])
        return torch.from_numpy(features).float(), [caption(self.speak(name, random), random) for name in names]

    def _view(self, row: int, random: np.random.Generator) -> np.ndarray:
        view = int(random.integers(len(self.augmented) + 1))
        if view == 0 or row not in self.views:
            return self.features[row]
        return self.augmented[view - 1][self.views[row]]


class LockedImageTuning(L.LightningModule):
    """A linear projection and a text transformer, trained contrastively.

    Args:
        mean: mean (1280,) of the locked features.
        std: their spread (1280,).
        steps: length of the whole schedule.
        lr: learning rate at the end of the warm-up.
        dropout: share of standardised features dropped in training.
    """

    def __init__(self, mean: Tensor, std: Tensor, steps: int, lr: float = 1.5e-3, dropout: float = 0.2) -> None:
        super().__init__()
        self.steps, self.lr = steps, lr
        self.clip = build("tiny_lit")
        self.clip.visual.requires_grad_(requires_grad=False)
        self.dropout = nn.Dropout(dropout)
        self.projection = nn.Linear(WIDTH, EMBED_DIM)
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)
        self.register_buffer("token_seen", torch.zeros(TEXT["vocab_size"], dtype=torch.bool))

    def embed(self, features: Tensor) -> Tensor:
        """Unit embeddings (B, 256) of locked features (B, 1280)."""
        return F.normalize(self.projection(self.dropout((features - self.mean) / self.std)), dim=-1)

    def training_step(self, batch: tuple[Tensor, list[list[int]]], _: int) -> Tensor:
        """Symmetric cross entropy of pictures against captions."""
        features, captions = batch
        for tokens in captions:
            self.token_seen[tokens] = True
        image, text = self.embed(features), encode_by_length(self.clip, captions, chunks=8)
        logits = self.clip.logit_scale.exp().clamp(max=LARGEST_SCALE) * image @ text.T
        target = torch.arange(len(logits))
        loss = 0.5 * (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target))
        accuracy = (logits.argmax(dim=1) == target).float().mean()
        self.log_dict({"loss": loss, "accuracy": accuracy, "scale": self.clip.logit_scale.exp()})
        return loss

    def configure_optimizers(self) -> dict[str, object]:
        """AdamW with a warm cosine."""
        optimizer = adamw(self, self.lr, weight_decay=0.1)
        return {"optimizer": optimizer, "lr_scheduler": warm_cosine(optimizer, self.steps, warmup=self.steps // 20)}

    @torch.no_grad()
    def folded(self) -> nn.Module:
        """The open_clip CLIP with locked weights, standardisation folded into its projection, unseen tokens zero."""
        self.clip.visual.trunk.load_state_dict(locked_trunk().state_dict())
        head = self.clip.visual.head.proj
        head.weight.copy_(self.projection.weight / self.std)
        head.bias.copy_(self.projection.bias - head.weight @ self.mean)
        self.clip.token_embedding.weight[~self.token_seen] = 0.0
        return self.clip.eval()


def load_trained(run: str) -> LockedImageTuning:
    """The module of a finished run."""
    checkpoint = torch.load(BUILD / run / "last.ckpt", weights_only=True)["state_dict"]
    module = LockedImageTuning(checkpoint["mean"], checkpoint["std"], steps=1)
    module.load_state_dict(checkpoint)
    return module.eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", default="lit")
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--dropout", type=float, default=0.2)
    parser.add_argument("--min-pictures", type=int, default=4, help="names drawn less often are left out")
    parser.add_argument("--views", type=int, default=0, help="augmented views beside the pictures themselves")
    arguments = parser.parse_args()
    torch.manual_seed(SEED)
    data = NamedFeatures(arguments.min_pictures, arguments.views)
    pictures = sum(map(len, data.rows.values()))
    print(f"{len(data.names)} names, {pictures} pictures, {len(data.augmented)} augmented views")
    module = LockedImageTuning(*data.statistics(), steps=arguments.steps, dropout=arguments.dropout)
    fit(module, data.batch, arguments.steps, arguments.run)


if __name__ == "__main__":
    main()
