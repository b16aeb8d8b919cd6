"""How many augmented views of a training picture a run needs, on validation pictures only.

    python experiments/views/views.py
    python experiments/views/views.py --epochs 1 --seeds 1 --output /tmp/views     # a quick look at whether it runs

The same runs with features of 1 view under the test transform, 1, 4 and 8 augmented views, and a new augmentation at
every step (`features=none`). Finished runs and stored features are reused, so a killed call goes on where it was.
Writes `results.csv` (one line a run) and `results.md` (means over seeds).
"""

from __future__ import annotations

import argparse
import csv
import statistics
from collections.abc import Sequence
from pathlib import Path

from negprompt import api
from negprompt.cli.arguments import parse
from negprompt.cli.build import build_request
from negprompt.cli.compose import compositions, plain

HERE = Path(__file__).parent
FIXED = ("data=icons_val", "trainer=cpu", "trainer.progress_bar=false")
METHODS = {"coop": "mcm", "negprompt": "negprompt"}
FEATURES = {
    "1, test transform": ("features.views=1", "features.augment=false"),
    "1": ("features.views=1",),
    "4": ("features.views=4",),
    "8": ("features.views=8",),
    "one an epoch": ("features=none",),
}
FIGURES = ("id_accuracy", "auroc", "fpr95")
Row = dict[str, str | int | float]


def figures(method: str, views: str, seed: int, epochs: int | None, output: Path) -> Row:
    """Validation figures of one run: ID accuracy, mean AUROC and FPR95 of the method's own score."""
    words = [*FIXED, f"method={method}", *FEATURES[views], f"seed={seed}", f"paths.runs_dir={output / 'runs'}"]
    if epochs is not None:
        parts = ("method", "method.positive") if method == "negprompt" else ("method",)
        words += [f"{part}.optimizer.{key}" for part in parts for key in (f"epochs={epochs}", "min_steps=0")]
    (config,) = compositions("train", parse(words))
    metrics = api.train(build_request(plain(config))).metrics
    mean = metrics["scores"][METHODS[method]]["mean"]
    values = (metrics["id_accuracy"], mean["auroc"], mean["fpr95_id_positive"])
    return {"method": method, "views": views, "seed": seed, **dict(zip(FIGURES, values, strict=True))}


def table(rows: Sequence[Row]) -> str:
    """Means and sample standard deviations over seeds, as markdown."""
    lines = [
        "| method | views | ID accuracy | mean AUROC | mean FPR95 | seeds |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for method in METHODS:
        for views in FEATURES:
            runs = [row for row in rows if (row["method"], row["views"]) == (method, views)]
            if runs:
                cells = (spread([100 * float(run[figure]) for run in runs]) for figure in FIGURES)
                lines.append(f"| {method} | {views} | {' | '.join(cells)} | {len(runs)} |")
    return "\n".join(lines) + "\n"


def spread(values: Sequence[float]) -> str:
    """Mean, with the sample standard deviation where there are several values."""
    mean = f"{statistics.mean(values):.1f}"
    return mean if len(values) < 2 else f"{mean} ± {statistics.stdev(values):.1f}"


def main() -> None:
    """Make all runs, then write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--epochs", type=int, help="of every stage; default: those of the presets")
    parser.add_argument("--output", type=Path, default=HERE)
    options = parser.parse_args()
    rows: list[Row] = []
    for seed in options.seeds:
        for views in FEATURES:
            for method in METHODS:
                rows.append(figures(method, views, seed, options.epochs, options.output))
                print(rows[-1], flush=True)
    with (options.output / "results.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    (options.output / "results.md").write_text(table(rows), encoding="utf-8")
    print(table(rows))


if __name__ == "__main__":
    main()
