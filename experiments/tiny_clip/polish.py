"""More words for the text tower: the images stay where they are, captions now and then say a synonym.

The projection of the locked tower is frozen here, so the image towers that were distilled from it still fit. Run after
`lit.py`; `export.py tiny_lit --run polish` ships the result.

    python experiments/tiny_clip/polish.py
"""

from __future__ import annotations

import argparse

import torch
from fitting import adamw, fit, warm_cosine
from lit import SEED, LockedImageTuning, NamedFeatures
from pictures import BUILD
from synonyms import spoken


class TextPolish(LockedImageTuning):
    """Locked-image tuning that goes on with the text tower alone."""

    def configure_optimizers(self) -> dict[str, object]:
        """AdamW on the text tower with a warm cosine; projection and logit scale are frozen."""
        self.projection.requires_grad_(requires_grad=False)
        self.clip.logit_scale.requires_grad_(requires_grad=False)
        optimizer = adamw(self, self.lr, weight_decay=0.1)
        return {"optimizer": optimizer, "lr_scheduler": warm_cosine(optimizer, self.steps, warmup=self.steps // 20)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--start", default="lit", help="the tuning to go on from")
    parser.add_argument("--run", default="polish")
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--lr", type=float, default=4e-4)
    arguments = parser.parse_args()
    torch.manual_seed(SEED)
    started = torch.load(BUILD / arguments.start / "last.ckpt", weights_only=True)["state_dict"]
    module = TextPolish(started["mean"], started["std"], steps=arguments.steps, lr=arguments.lr)
    module.load_state_dict(started)
    fit(module, NamedFeatures(min_pictures=4, speak=spoken).batch, arguments.steps, arguments.run)


if __name__ == "__main__":
    main()
