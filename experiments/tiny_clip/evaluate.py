"""Zero-shot accuracy and MCM of an exported backbone on validation pictures (``--part test``: once, at the end).

python experiments/tiny_clip/evaluate.py tiny_rn
"""

from __future__ import annotations

import argparse
import json
import tarfile
from pathlib import Path

import numpy as np
import torch
from augment import resize, to_float
from captions import name_features
from load import load
from locked_tower import normalise
from open_clip import CLIP
from pictures import decode
from sklearn.metrics import roc_auc_score
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

ICONS = Path(__file__).parents[2] / "src" / "negprompt" / "data" / "resources" / "icons"
OOD = ("near", "symbols", "logos", "flags")
TEMPLATE = "a photo of a {}"


def read_set(name: str, folder: Path = ICONS) -> tuple[Tensor, list[str]]:
    """Pictures (N, 3, H, W) in [0, 1] and names of a shard."""
    with tarfile.open(folder / f"{name}.tar") as archive:
        content = {member.name: archive.extractfile(member).read() for member in archive}
    keys = sorted(key.removesuffix(".json") for key in content if key.endswith(".json"))
    pixels = np.stack([decode(content[f"{key}.webp"]) for key in keys])
    return to_float(pixels), [json.loads(content[f"{key}.json"])["name"] for key in keys]


@torch.inference_mode()
def image_features(model: CLIP, images: Tensor) -> Tensor:
    """Unit features (N, D)."""
    size = model.visual.image_size
    size = size if isinstance(size, int) else size[0]
    parts = [model.visual(normalise(resize(part, size).clone())) for part in images.split(64)]
    return F.normalize(torch.cat(parts), dim=-1)


def fpr95(id_scores: np.ndarray, ood_scores: np.ndarray) -> float:
    """Share of OOD at or above the largest threshold that keeps 95 % of ID."""
    kept = int(np.ceil(0.95 * len(id_scores)))
    return float((ood_scores >= np.sort(id_scores)[::-1][kept - 1]).mean())


def report(model: CLIP, part: str, template: str = TEMPLATE) -> dict[str, dict[str, float]]:
    """Top-1 per ID set in percent, and per score and OOD set AUROC and FPR95 in percent."""
    class_names: list[str] = json.loads((ICONS / "benchmark.json").read_text())["class_names"]
    text = name_features(model, class_names, (template,))
    table: dict[str, dict[str, float]] = {"top1": {}}
    cosines = {}
    id_sets = [f"id_{part}", *(["id_train"] if part == "val" else []), *_present(f"emoji_{part}", "emoji")]
    for name in id_sets:
        images, names = read_set(name)
        cosines[name] = (image_features(model, images) @ text.T).double().numpy()
        labels = np.array([class_names.index(name) for name in names])
        table["top1"][name] = 100 * float((cosines[name].argmax(axis=1) == labels).mean())
    for name in OOD:
        cosines[name] = (image_features(model, read_set(f"{name}_{part}")[0]) @ text.T).double().numpy()
    known = cosines[f"id_{part}"]
    if part == "val":  # few-shot pictures are as new to a backbone as validation ones, and many more
        known = np.concatenate([known, cosines["id_train"]])
    for score, function in {"mcm": _mcm, "max_logit": lambda x: x.max(axis=1)}.items():
        aurocs, fprs = {}, {}
        for name in OOD:
            ood = function(cosines[name])
            labels = np.r_[np.ones(len(known)), np.zeros(len(ood))]
            aurocs[name] = 100 * roc_auc_score(labels, np.r_[function(known), ood])
            fprs[name] = 100 * fpr95(function(known), ood)
        table[f"{score} auroc"] = aurocs | {"mean": float(np.mean(list(aurocs.values())))}
        table[f"{score} fpr95"] = fprs | {"mean": float(np.mean(list(fprs.values())))}
    return table


def _mcm(cosines: np.ndarray) -> np.ndarray:
    shares = np.exp(cosines)
    return shares.max(axis=1) / shares.sum(axis=1)


def _present(*names: str) -> list[str]:
    return [name for name in names if (ICONS / f"{name}.tar").exists()][:1]


def show(table: dict[str, dict[str, float]]) -> None:
    """One line a row."""
    for row, values in table.items():
        print(f"{row:16s}" + "  ".join(f"{name} {value:.1f}" for name, value in values.items()), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("backbone", help="a folder of resources/")
    parser.add_argument("--part", default="val", choices=["val", "test"])
    parser.add_argument("--template", default=TEMPLATE)
    arguments = parser.parse_args()
    show(report(load(arguments.backbone)[0], arguments.part, arguments.template))


if __name__ == "__main__":
    main()
