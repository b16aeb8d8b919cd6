"""A ViT that is shown what the distilled ResNet sees, region by region: a transformer alone learns very slowly.

Each of the 36 patch tokens also learns the ResNet's third-stage features of its region, and the embedding is compared
with the ResNet's of the same view: 37 lessons a picture in place of one.

    nice -n 15 python experiments/tiny_clip/guided.py --steps 4000
"""

from __future__ import annotations

import argparse

import torch
from distil import SEED, Distillation, Lesson, Lessons, Teacher, load_student
from fitting import fit
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from towers import VISION

RESNET_WIDTH = 16 * VISION["tiny_rn"]["width"]
"""Channels of a ModifiedResNet's third stage, whose stride of 16 is the ViT's patch size."""


class GuidedDistillation(Distillation):
    """Distillation of ``tiny_vit`` with a trained ResNet beside it.

    Args:
        guide: the ResNet; frozen.
        bank: unit text features (K, 256) of the names that both are compared on.
        scale: logit scale, not its logarithm.
        steps: length of the whole schedule.
        lr: learning rate at the end of the warm-up.
        token_weight: weight of the regions' distance.
    """

    def __init__(
        self, guide: nn.Module, bank: Tensor, scale: float, steps: int, lr: float, token_weight: float = 2.0
    ) -> None:
        super().__init__("tiny_vit", bank, scale, steps, lr, name_weight=0.0)
        self.visual.output_tokens = True
        self.guide = guide.eval().requires_grad_(requires_grad=False)
        self.regions = nn.Linear(VISION["tiny_vit"]["width"], RESNET_WIDTH)
        self.token_weight = token_weight

    @torch.no_grad()
    def shown(self, views: Tensor) -> tuple[Tensor, Tensor]:
        """The guide's unit embeddings (B, 256) and region features (B, 36, C) of ``views``."""
        maps = self.guide.layer3(self.guide.layer2(self.guide.layer1(self.guide.stem(views))))
        embeddings = F.normalize(self.guide.attnpool(self.guide.layer4(maps)), dim=-1)
        return embeddings, maps.flatten(2).transpose(1, 2)

    def training_step(self, lesson: Lesson, _: int) -> Tensor:
        """Distances of embeddings and regions, and of the distributions over names."""
        shown, regions = self.shown(lesson.views)
        targets = F.normalize(shown + lesson.targets, dim=-1)
        output, tokens = self.visual(lesson.views)
        embeddings = F.normalize(output, dim=-1)
        taught = F.log_softmax(self.scale * targets @ self.bank.T, dim=1)
        learned = F.log_softmax(self.scale * embeddings @ self.bank.T, dim=1)
        distance = 2.0 * (1.0 - (embeddings * targets).sum(dim=1)).mean()
        divergence = F.kl_div(learned, taught, log_target=True, reduction="batchmean")
        region_distance = (1.0 - F.cosine_similarity(self.regions(tokens), regions, dim=-1)).mean()
        loss = distance + divergence + self.token_weight * region_distance
        self.log_dict({"loss": loss, "distance": distance, "divergence": divergence, "regions": region_distance})
        return loss


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", default="tiny_vit")
    parser.add_argument("--guide", default="tiny_rn", help="run of the trained ResNet")
    parser.add_argument("--teacher", default="lit")
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--lr", type=float, default=1.5e-3)
    arguments = parser.parse_args()
    torch.manual_seed(SEED)
    teacher = Teacher(arguments.teacher)
    lessons = Lessons(teacher, arguments.batch, VISION["tiny_vit"]["image_size"], small_until=0)
    guide = load_student("tiny_rn", arguments.guide)
    student = GuidedDistillation(guide, teacher.bank, teacher.scale, arguments.steps, arguments.lr)
    student.start_at(teacher.embeddings)
    fit(student, lessons, arguments.steps, arguments.run)


if __name__ == "__main__":
    main()
