"""Checkpoints as CoOp (Dassl) and the released NegPrompt code write them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from negprompt.backbones.base import FrozenBackbone
from negprompt.prompts.template import clean_name

LENGTH = 77


def embeddings(
    backbone: FrozenBackbone, names: Sequence[str], n: int, *, full_stop: bool, end_padded: bool = False
) -> Tensor:
    """Token embeddings (K, 77, d) of "X X ... X name[.]", as their code looks them up."""
    info = backbone.tokenizer_info
    rows = []
    for name in names:
        ids = [
            info.start,
            *n * backbone.tokenize("X"),
            *backbone.tokenize(clean_name(name) + "." * full_stop),
            info.end,
        ]
        rows.append(ids + [info.end if end_padded else 0] * (LENGTH - len(ids)))
    with torch.no_grad():
        return backbone.embed_tokens(torch.tensor(rows)).float()


def coop_state(
    backbone: FrozenBackbone,
    context: Tensor,
    names: Sequence[str],
    *,
    full_stop: bool = True,
    dtype: torch.dtype = torch.float32,
) -> dict[str, Tensor]:
    """State dict of CoOp's prompt learner; context (n, d) or (K, n, d)."""
    n = context.shape[-2]
    table = embeddings(backbone, names, n, full_stop=full_stop)
    state = {"ctx": context, "token_prefix": table[:, :1], "token_suffix": table[:, 1 + n :]}
    return {key: value.to(dtype).clone() for key, value in state.items()}


class WarmUp(torch.optim.lr_scheduler.LRScheduler):
    """Like Dassl's: its state holds the schedule that follows, an object with the optimiser inside."""

    def __init__(self, optimizer: torch.optim.Optimizer, successor: torch.optim.lr_scheduler.LRScheduler) -> None:
        self.successor = successor
        super().__init__(optimizer)

    def get_lr(self) -> list[float]:
        return [1e-5 for _ in self.base_lrs]


def dassl(state: dict[str, Tensor], **changes: Any) -> dict[str, Any]:
    """What Dassl stores after an epoch."""
    parameter = nn.Parameter(state["ctx"].float().clone())
    optimizer = torch.optim.SGD([parameter], lr=0.002, momentum=0.9, weight_decay=5e-4)
    scheduler = WarmUp(optimizer, torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 50))
    parameter.sum().backward()
    optimizer.step()
    scheduler.step()
    return {
        "state_dict": state,
        "epoch": 50,
        "optimizer": optimizer.state_dict(),
        "scheduler": scheduler.state_dict(),
        "val_result": None,
        **changes,
    }


def negprompt_state(
    backbone: FrozenBackbone,
    positive: Tensor,
    negative: Tensor | None,
    names: Sequence[str],
    *,
    full_stop: bool = False,
    prefix: str = "",
    negative_dtype: torch.dtype = torch.float16,
) -> dict[str, Tensor]:
    """State dict of the released code's model after stage 2; positive (n, d) or (K, n, d), negative with P before n."""
    n, p = positive.shape[-2], 0 if negative is None else negative.shape[-3]
    table = embeddings(backbone, names, n, full_stop=full_stop, end_padded=True)[:, None].expand(-1, 1 + p, -1, -1)
    learner = {
        "ctx_positive": positive.unsqueeze(-3),
        "ctx_negative": torch.empty(0) if negative is None else negative.to(negative_dtype),
        "token_prefix": table[:, :, :1],
        "token_suffix": table[:, :, 1 + n :],
        "positive_token_prefix": table[:, :1, :1],
        "negative_token_prefix": table[:, 1:, :1],
    }
    clip = {
        f"{tower}.{name}": torch.zeros(2) for tower in ("image_encoder", "text_encoder", "clip_model") for name in "ab"
    }
    named = {**{f"prompt_learner.{key}": value.clone() for key, value in learner.items()}, **clip}
    return {f"{prefix}{key}": value for key, value in {**named, "logit_scale": torch.tensor(4.6)}.items()}


def stored(path: Path, content: object) -> Path:
    """A file of torch.save."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(content, path)
    return path
