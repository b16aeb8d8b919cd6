"""Time of one text step (forward and backward): prompts cropped to their last end token against all 77 tokens.

    python experiments/benchmarks/text_step.py

Ratios from one process, the two paths in turn, median of the rounds; also the largest difference of features and
gradients, so that a faster path that computes something else would be seen.
"""

from __future__ import annotations

import argparse
import statistics
import time

import open_clip
import torch
from torch import Tensor

from negprompt.backbones.embedded import EmbeddedSettings
from negprompt.backbones.openclip import OpenClipBackbone
from negprompt.backbones.text import TextPath
from negprompt.prompts.encoder import PromptEncoder
from negprompt.prompts.template import PromptLayout
from negprompt.types import ImageSpec

NAMES = open_clip.IMAGENET_CLASSNAMES


def backbone(name: str, path: TextPath) -> OpenClipBackbone:
    """An embedded backbone, or a named open_clip model with random weights (seeded)."""
    if name.startswith("tiny"):
        return EmbeddedSettings(name=name, text_path=path).build()
    torch.manual_seed(0)
    model = open_clip.create_model(name, pretrained=None)
    return OpenClipBackbone(model, name, name, ImageSpec(224, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)), path)


def step(encoder: PromptEncoder, clip: OpenClipBackbone, context: Tensor) -> tuple[float, Tensor, Tensor]:
    """Seconds, features and context gradient of one forward and backward."""
    leaf = context.clone().requires_grad_()
    start = time.perf_counter()
    features = encoder(clip, leaf)
    (gradient,) = torch.autograd.grad(features.square().cumsum(0).sum(), leaf)
    return time.perf_counter() - start, features.detach(), gradient


def compare(name: str, num_names: int, num_context_tokens: int, rounds: int) -> str:
    """One line of the table."""
    layout = PromptLayout(num_context_tokens)
    clips = {path: backbone(name, path) for path in ("plain", "cropped")}
    encoders = {path: PromptEncoder(clip, NAMES[:num_names], layout) for path, clip in clips.items()}
    width = clips["plain"].embed_tokens(torch.tensor([0])).shape[-1]
    context = 0.02 * torch.randn(num_context_tokens, width, generator=torch.Generator().manual_seed(0))
    seconds: dict[str, list[float]] = {"plain": [], "cropped": []}
    results = {}
    for turn in range(rounds + 1):
        for path, clip in clips.items():
            elapsed, *results[path] = step(encoders[path], clip, context)
            if turn > 0:  # the first round warms up
                seconds[path].append(elapsed)
    ratio = statistics.median(seconds["plain"]) / statistics.median(seconds["cropped"])
    feature, gradient = (
        float((plain - cropped).abs().max() / plain.abs().max())
        for plain, cropped in zip(results["plain"], results["cropped"], strict=True)
    )
    return f"| {name} | {num_names} | {num_context_tokens} | {ratio:.1f} | {feature:.1e} | {gradient:.1e} |"


def main() -> None:
    """Print the table as markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, fp32, CPU")
    print("| text tower | names | context tokens | plain / cropped time | feature difference | gradient difference |")
    print("|---|---:|---:|---:|---:|---:|")
    for name, num_names, tokens in (("tiny_rn", 90, 4), ("tiny_rn", 90, 16), ("ViT-B-16", 64, 4), ("ViT-B-16", 64, 16)):
        print(compare(name, num_names, tokens, rounds), flush=True)


if __name__ == "__main__":
    main()
