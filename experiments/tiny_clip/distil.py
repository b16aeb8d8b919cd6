"""Distillation: from an augmented view a small image tower learns the locked tower's embedding of the clean picture.

The text tower stays the one of the locked-image tuning, so every backbone reads the same prompts.

    nice -n 5 python experiments/tiny_clip/distil.py tiny_rn
"""

from __future__ import annotations

import argparse
from collections import Counter
from typing import NamedTuple

import lightning as L  # noqa: N812
import numpy as np
import torch
from augment import augment, resize, to_float
from captions import name_features
from features import MIN_PICTURES, view_path
from fitting import adamw, fit, warm_cosine
from lit import load_trained
from locked_tower import normalise
from open_clip import CLIP
from open_clip.modified_resnet import ModifiedResNet
from pictures import BUILD, load
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F  # noqa: N812
from towers import EMBED_DIM, VISION, build

SEED = 1
TEMPLATES = ("{}", "a photo of a {}", "an icon of a {}.")
SMALL = 64


class Lesson(NamedTuple):
    """One batch: views (B, 3, H, W), the teacher's embeddings (B, 256), each name's place in the bank or -1 (B,)."""

    views: Tensor
    targets: Tensor
    names: Tensor


class Teacher:
    """The tuned locked tower: its embeddings of all pre-training pictures, and a bank of name features."""

    def __init__(self, run: str) -> None:
        module = load_trained(run)
        self.clip: CLIP = module.clip
        self.pictures = load()
        counts = Counter(self.pictures.names)
        names = sorted(name for name, count in counts.items() if count >= MIN_PICTURES)
        self.bank = name_features(self.clip, names, TEMPLATES)
        place = {name: i for i, name in enumerate(names)}
        self.name_places = torch.tensor([place.get(name, -1) for name in self.pictures.names])
        with torch.inference_mode():
            blocks = torch.from_numpy(np.load(view_path(0))).split(4096)
            self.embeddings = torch.cat([module.embed(block.float()) for block in blocks]).clone()
        self.scale = module.clip.logit_scale.exp().item()


class Lessons:
    """Batches of a step: pictures in an order of their own in each epoch, augmented by (seed, step).

    Args:
        teacher: whose embeddings are the targets.
        batch: pictures a step.
        size: side of the views in the end.
        small_until: up to this step the views have ``SMALL`` pixels, which costs half as much.
    """

    def __init__(self, teacher: Teacher, batch: int, size: int, small_until: int) -> None:
        self.teacher, self.batch, self.size, self.small_until = teacher, batch, size, small_until

    def __call__(self, step: int) -> Lesson:
        """The batch of one step."""
        count = len(self.teacher.pictures.names)
        epoch, place = divmod(step, count // self.batch)
        order = np.random.default_rng((SEED, epoch)).permutation(count)
        rows = np.sort(order[place * self.batch : (place + 1) * self.batch])
        images = to_float(self.teacher.pictures.pixels[rows])
        generator = torch.Generator().manual_seed(SEED * 1_000_003 + step)
        size = min(self.size, SMALL) if step < self.small_until else self.size
        views = normalise(augment(resize(images, size), size, generator))
        return Lesson(views, self.teacher.embeddings[rows], self.teacher.name_places[rows])


class Distillation(L.LightningModule):
    """A student tower; a ResNet has a batch norm on its output, which is folded away at the end.

    Args:
        name: of the student, a key of ``towers.VISION``.
        bank: unit text features (K, 256) of the names that teacher and student are compared on.
        scale: the teacher's logit scale, not its logarithm.
        steps: length of the whole schedule.
        lr: learning rate at the end of the warm-up.
        name_weight: weight of the cross entropy of the picture's own name, for pictures whose name is in the bank.
    """

    def __init__(self, name: str, bank: Tensor, scale: float, steps: int, lr: float, name_weight: float) -> None:
        super().__init__()
        self.steps, self.lr, self.scale, self.name_weight = steps, lr, scale, name_weight
        self.visual = build(name).visual.to(memory_format=torch.channels_last)
        self.output_norm = nn.BatchNorm1d(EMBED_DIM) if isinstance(self.visual, ModifiedResNet) else nn.Identity()
        self.register_buffer("bank", bank)

    @torch.no_grad()
    def start_at(self, targets: Tensor) -> None:
        """Start with the mean and spread of the targets: otherwise all pictures map to nearly one vector."""
        if isinstance(self.visual, ModifiedResNet):
            self.output_norm.weight.copy_(targets.std(dim=0))
            self.output_norm.bias.copy_(targets.mean(dim=0))
            return
        # A ViT ends in a layer norm and a projection without bias: the norm's coordinates become the principal ones.
        directions = torch.linalg.eigh(targets.T @ targets).eigenvectors.flip(1)[:, : len(self.visual.proj)]
        coordinates = targets @ directions
        self.visual.proj.copy_(directions.T)
        self.visual.ln_post.weight.copy_(coordinates.std(dim=0))
        self.visual.ln_post.bias.copy_(coordinates.mean(dim=0))

    def embed(self, views: Tensor) -> Tensor:
        """Unit embeddings (B, 256) of views (B, 3, H, W), at a size the tower was not built for as well."""
        grid = views.shape[-1] // 32
        if isinstance(self.visual, ModifiedResNet) and views.shape[-1] != self.visual.image_size:
            positions = resized_positions(self.visual.attnpool.positional_embedding, grid)
            output = functional_call(self.visual, {"attnpool.positional_embedding": positions}, views)
        else:
            output = self.visual(views)
        return F.normalize(self.output_norm(output), dim=-1)

    def training_step(self, lesson: Lesson, _: int) -> Tensor:
        """Distance of the embeddings, and of the distributions over names."""
        embeddings = self.embed(lesson.views)
        logits = self.scale * embeddings @ self.bank.T
        taught = F.log_softmax(self.scale * lesson.targets @ self.bank.T, dim=1)
        distance = 2.0 * (1.0 - (embeddings * lesson.targets).sum(dim=1)).mean()
        divergence = F.kl_div(F.log_softmax(logits, dim=1), taught, log_target=True, reduction="batchmean")
        own_name = F.cross_entropy(logits, lesson.names, ignore_index=-1)
        loss = distance + divergence + self.name_weight * own_name
        self.log_dict({"loss": loss, "distance": distance, "divergence": divergence, "own_name": own_name})
        return loss

    def configure_optimizers(self) -> dict[str, object]:
        """AdamW with a warm cosine."""
        optimizer = adamw(self, self.lr, weight_decay=0.05)
        return {"optimizer": optimizer, "lr_scheduler": warm_cosine(optimizer, self.steps, warmup=self.steps // 20)}

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:  # noqa: ARG002
        """Clip the gradient: a transformer's first steps at a large learning rate need it."""
        nn.utils.clip_grad_norm_(self.parameters(), 3.0)

    @torch.no_grad()
    def folded(self) -> nn.Module:
        """The tower alone, in eval mode, with the output norm inside its last linear map."""
        norm, visual = self.output_norm, self.visual
        if isinstance(norm, nn.BatchNorm1d):
            gain = norm.weight / (norm.running_var + norm.eps).sqrt()
            last = visual.attnpool.c_proj
            last.bias.copy_(gain * (last.bias - norm.running_mean) + norm.bias)
            last.weight.mul_(gain[:, None])
        return visual.eval()


def resized_positions(positions: Tensor, grid: int) -> Tensor:
    """Positional embedding (1 + g*g, C) of an attention pool for another grid."""
    side = round((len(positions) - 1) ** 0.5)
    square = positions[1:].T.reshape(1, -1, side, side)
    square = F.interpolate(square, size=(grid, grid), mode="bilinear", antialias=True, align_corners=False)
    return torch.cat([positions[:1], square[0].flatten(1).T])


def load_student(name: str, run: str) -> nn.Module:
    """The folded tower of a finished run."""
    state = torch.load(BUILD / run / "last.ckpt", weights_only=True)["state_dict"]
    student = Distillation(name, state["bank"], scale=1.0, steps=1, lr=0.0, name_weight=0.0)
    student.load_state_dict({key: state[key] for key in student.state_dict()})
    return student.folded()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("student", choices=["tiny_rn", "tiny_vit"])
    parser.add_argument("--run", help="name of the run's folder; the student's by default")
    parser.add_argument("--teacher", default="lit")
    parser.add_argument("--steps", type=int, default=2600)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--small-share", type=float, default=0.6, help="share of the steps at 64 px")
    parser.add_argument("--start", help="run whose trained student this one starts from, on a schedule of its own")
    parser.add_argument("--name-weight", type=float, default=0.0)
    arguments = parser.parse_args()
    torch.manual_seed(SEED)
    teacher = Teacher(arguments.teacher)
    small_until = int(arguments.steps * arguments.small_share) if arguments.student == "tiny_rn" else 0
    lessons = Lessons(teacher, arguments.batch, VISION[arguments.student]["image_size"], small_until)
    student = Distillation(
        arguments.student, teacher.bank, teacher.scale, arguments.steps, arguments.lr, arguments.name_weight
    )
    if arguments.start is None:
        student.start_at(teacher.embeddings)
    else:
        student.load_state_dict(torch.load(BUILD / arguments.start / "last.ckpt", weights_only=True)["state_dict"])
    fit(student, lessons, arguments.steps, arguments.run or arguments.student)


if __name__ == "__main__":
    main()
