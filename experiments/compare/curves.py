"""What NegPrompt's gain hangs on: one setting of stage 2 changed at a time, on validation pictures.

python experiments/compare/curves.py     # -> curves.csv, curves.png; runs in runs/, finished ones are reused
python experiments/compare/curves.py --seeds 1 2
"""

from __future__ import annotations

import argparse
import csv
import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("agg")

from matplotlib import pyplot as plt

from negprompt import api
from negprompt.cli.arguments import parse
from negprompt.cli.build import build_request
from negprompt.cli.compose import compositions, plain

HERE = Path(__file__).parent
FIXED = ("data=icons_val", "method=negprompt", "trainer=cpu", "trainer.progress_bar=false")
FORMS = ("multilabel_margin", "negatives_uniform", "joint_uniform")
TITLES = {
    "gamma": "gamma (weight of NND)",
    "start": "starting distance (noise of the negatives)",
    "weight": "weight of NIS",
    "steps": "epochs of stage 2",
}


def preset() -> dict[str, Any]:
    """Settings of stage 2 that the curves start from."""
    (config,) = compositions("train", parse(FIXED))
    settings: dict[str, Any] = plain(config)["method"]
    return settings


def points(method: Mapping[str, Any]) -> Iterator[tuple[str, str, float, tuple[str, ...]]]:
    """Curve, form of NIS, value, overrides."""
    for form in FORMS:
        for gamma in (0.0, 0.05, 0.2, 1.0, 4.0):
            yield "gamma", form, gamma, (f"method.nis={form}", f"method.nnd_weight={gamma}")
    for form in FORMS[:2]:
        for noise in (0.00001, 0.002, 0.02, 0.1):
            yield "start", form, noise, (f"method.nis={form}", f"method.negative_noise={noise}")
        for weight in (0.0625, 0.25, 1.0, 4.0):
            yield "weight", form, weight, (f"method.nis={form}", *nis_weight(method, weight))
        for epochs in (1, 3, 10, 30):
            wanted = (f"method.optimizer.epochs={epochs}", "method.optimizer.min_steps=0")
            yield "steps", form, float(epochs), (f"method.nis={form}", *wanted)


def nis_weight(method: Mapping[str, Any], weight: float) -> tuple[str, ...]:
    """NIS times `weight` beside the other two as they are: their weights divided by it, rates multiplied by it."""
    optimizer = method["optimizer"]
    changed = {
        "npd_weight": method["npd_weight"] / weight,
        "nnd_weight": method["nnd_weight"] / weight,
        "optimizer.lr": optimizer["lr"] * weight,
        "optimizer.warmup_lr": optimizer["warmup_lr"] * weight,
        "optimizer.weight_decay": optimizer["weight_decay"] / weight,
    }
    return tuple(f"method.{name}={value!r}" for name, value in changed.items())


def figures(overrides: Sequence[str], seed: int) -> dict[str, float]:
    """Validation AUROC of one run: near, and the mean over the three far sets."""
    (config,) = compositions("train", parse([*FIXED, *overrides, f"seed={seed}"]))
    sets = api.train(build_request(plain(config))).metrics["scores"]["negprompt"]
    far = statistics.fmean(sets[name]["auroc"] for name in ("symbols", "logos", "flags"))
    return {"near": sets["near"]["auroc"], "far": far}


def draw(rows: Sequence[dict[str, Any]]) -> None:
    """One column a curve, near above far."""
    plots, axes = plt.subplots(2, len(TITLES), figsize=(14, 6), sharey="row", layout="constrained")
    for column, (curve, title) in enumerate(TITLES.items()):
        for line, kind in enumerate(("near", "far")):
            axis = axes[line, column]
            for form, style in zip(FORMS, ("o-", "s--", "^:"), strict=True):
                chosen = [row for row in rows if (row["curve"], row["nis"]) == (curve, form)]
                if chosen:
                    places = range(len(chosen))
                    axis.plot(places, [100 * row[kind] for row in chosen], style, label=form)
                    axis.set_xticks(places, [f"{row['value']:g}" for row in chosen])
            axis.grid(alpha=0.3)
            axis.set_ylabel(f"{kind} AUROC, %" if column == 0 else "")
            axis.set_xlabel(title if line else "")
    axes[0, 0].legend(title="form of NIS", fontsize=8)
    plots.savefig(HERE / "curves.png", dpi=110)


def main() -> None:
    """Run all points, writing the table after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    seeds = parser.parse_args().seeds
    wanted = list(points(preset()))
    rows: list[dict[str, Any]] = []
    for number, (curve, form, value, overrides) in enumerate(wanted, start=1):
        runs = [figures(overrides, seed) for seed in seeds]
        means = {kind: statistics.fmean(run[kind] for run in runs) for kind in ("near", "far")}
        rows.append({"curve": curve, "nis": form, "value": value, **means, "seeds": len(seeds)})
        with (HERE / "curves.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        print(f"{number}/{len(wanted)} {rows[-1]}", flush=True)
    draw(rows)


if __name__ == "__main__":
    main()
