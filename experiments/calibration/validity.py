"""Rejected share of ID pictures against the promised alpha: over random calibration splits, and where it breaks.

    negprompt train seed=1
    python experiments/calibration/validity.py runs/icons/negprompt/tiny_rn/seed1-*

Writes rejected.csv and rejected.png beside this file. Nothing is chosen here: the run, its score and its calibration
are what `negprompt train` leaves.
"""

from __future__ import annotations

import argparse
import csv
import io
from importlib import resources
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from PIL import Image
from scipy.stats import betabinom

from negprompt.data.icons import IconsID
from negprompt.data.shards.archive import read_shard
from negprompt.detection.calibration import Calibration, p_values, rejecting_rank
from negprompt.detector import Detector
from negprompt.types import ImageSet

HERE = Path(__file__).parent
ALPHAS = np.round(np.arange(0.01, 0.301, 0.01), 2)
SPLITS, CALIBRATION = 200, 300
LOW, HIGH = 0.025, 0.975
BLUE, VERMILION, GREY = "#0072b2", "#d55e00", "#666666"

Floats = npt.NDArray[np.float64]


class Measured(NamedTuple):
    """Rejected shares by alpha (A,): of splits (S, A), with the calibration of the run, of the shifted pictures."""

    splits: Floats
    of_run: Floats
    shifted: Floats


def scores_of(detector: Detector, images: ImageSet) -> Floats:
    pictures = (Image.open(io.BytesIO(one)) for one in images.encoded)
    return detector(pictures, batch_size=256).score


def shifted_set(names: tuple[str, ...]) -> ImageSet:
    """Colour emoji of the ID names: the style-shifted ID set that comes with the benchmark's shards."""
    shard = Path(str(resources.files("negprompt.data") / "resources" / "icons" / "emoji_test.tar"))
    samples = [one for one in read_shard(shard) if one.fields["name"] in names]
    labels = [names.index(one.fields["name"]) for one in samples]
    return ImageSet("emoji", [one.key for one in samples], [one.encoded for one in samples], labels)


def rejected(scores: Floats, calibration: Calibration) -> Floats:
    p = p_values(scores, calibration)
    return np.array([(p <= alpha).mean() for alpha in ALPHAS])


def measure(detector: Detector, calibration: Calibration) -> tuple[Measured, int, int]:
    pictures = IconsID(name="icons", num_shots=8).load(1)
    test, emoji = scores_of(detector, pictures.test), scores_of(detector, shifted_set(detector.classes))
    rng = np.random.default_rng(0)
    splits = []
    for _ in range(SPLITS):
        order = rng.permutation(len(test))
        split = Calibration.of(test[order[:CALIBRATION]], "a random part of the ID test pictures")
        splits.append(rejected(test[order[CALIBRATION:]], split))
    return Measured(np.array(splits), rejected(test, calibration), rejected(emoji, calibration)), len(test), len(emoji)


def band(n: int, m: int) -> tuple[Floats, Floats, Floats]:
    """Exact share that m new pictures are rejected with, by alpha: mean, 2.5 % and 97.5 % quantile."""
    ranks = np.array([rejecting_rank(alpha, n) for alpha in ALPHAS])
    law = betabinom(m, ranks, n + 1 - ranks)
    return ranks / (n + 1), law.ppf(LOW) / m, law.ppf(HIGH) / m


def write(measured: Measured, num_test: int, num_shifted: int, n_run: int) -> None:
    mean, low, high = band(CALIBRATION, num_test - CALIBRATION)
    _, low_run, high_run = band(n_run, num_test)
    inside = ((measured.splits >= low) & (measured.splits <= high)).mean(axis=0)
    columns = {
        "alpha": ALPHAS,
        "expected": mean,
        "band_low": low,
        "band_high": high,
        "mean_of_splits": measured.splits.mean(axis=0),
        "splits_inside": inside,
        "of_run": measured.of_run,
        "of_run_low": low_run,
        "of_run_high": high_run,
        "shifted": measured.shifted,
    }
    with (HERE / "rejected.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows([f"{value:.4f}" for value in row] for row in zip(*columns.values(), strict=True))
    draw(measured, columns, num_shifted, n_run)
    print(f"{num_test} test pictures, {num_shifted} shifted ones, calibration of the run on {n_run}")
    for place in np.flatnonzero(np.isin(ALPHAS, [0.05, 0.1, 0.2])):
        print({name: round(float(values[place]), 4) for name, values in columns.items()})
    print(f"splits inside the band, mean over alpha: {inside.mean():.3f}, least {inside.min():.3f}")


def draw(measured: Measured, columns: dict[str, Floats], num_shifted: int, n_run: int) -> None:
    figure = Figure(figsize=(12, 5), dpi=100, layout="constrained")
    left, right = figure.subplots(1, 2)
    for split in measured.splits:
        left.plot(ALPHAS, split, color=BLUE, alpha=0.06, linewidth=1)
    left.plot([], [], color=BLUE, alpha=0.5, label=f"{SPLITS} random splits of the ID test pictures")
    left.plot(ALPHAS, columns["mean_of_splits"], color=BLUE, linewidth=2, label="their mean")
    for name in ("band_low", "band_high"):
        label = "exact beta-binomial band, 95 %" if name == "band_low" else None
        left.plot(ALPHAS, columns[name], color=GREY, linestyle="--", linewidth=1.5, label=label)
    left.set_title(f"Calibrated on {CALIBRATION} of them, tested on the others")
    right.plot(
        ALPHAS, columns["shifted"], color=VERMILION, linewidth=2, label=f"style-shifted ID (emoji, {num_shifted})"
    )
    right.plot(ALPHAS, columns["of_run"], color=BLUE, linewidth=2, label="ID test pictures")
    right.fill_between(ALPHAS, columns["of_run_low"], columns["of_run_high"], color=GREY, alpha=0.3, label="band, 95 %")
    right.set_title(f"Calibration that the run has ({n_run} validation pictures)")
    for panel in (left, right):
        panel.plot([0, ALPHAS[-1]], [0, ALPHAS[-1]], color="black", linewidth=1, linestyle=":", label="promised")
        panel.set_xlabel("alpha, the promised share")
        panel.set_ylabel("rejected share of ID pictures")
        panel.legend(loc="upper left", frameon=False)
        panel.spines[["top", "right"]].set_visible(False)
    figure.savefig(HERE / "rejected.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="run folder of method=negprompt data=icons backbone=tiny_rn seed=1")
    detector = Detector.load(parser.parse_args().run, device="cpu")
    if detector.calibration is None:  # a run of an earlier version
        held_out = IconsID(name="icons", num_shots=8).held_out(1)
        detector.calibrate([Image.open(io.BytesIO(one)) for one in held_out.encoded], source=held_out.name)
    calibration = detector.calibration
    write(*measure(detector, calibration), calibration.n)


if __name__ == "__main__":
    main()
