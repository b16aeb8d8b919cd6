"""Choose the settings of the embedded presets on validation pictures, never on test pictures.

    python experiments/presets/search.py stage1
    python experiments/presets/search.py stage2

Every candidate is a line of Hydra overrides on `data=icons_val`: few-shot pictures as always, ID validation pictures
against the validation twins of the OOD sets. Finished runs are reused, so a killed search goes on where it was.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path

from negprompt import api
from negprompt.cli.arguments import parse
from negprompt.cli.build import build_request
from negprompt.cli.compose import compositions, plain

HERE = Path(__file__).parent
SETS = ("near", "symbols", "logos", "flags", "mean")
SEEDS = (1,)
FIXED = ("data=icons_val", "trainer=cpu", "trainer.progress_bar=false")


def stage1() -> Iterator[tuple[str, ...]]:
    """CoOp: start and length of the context, learning rate."""
    yield ("method=zero_shot",)
    yield ("method=zero_shot", "method.context_words=an icon of a")
    starts = (
        ("method.num_context_tokens=4", "method.context_words=a photo of a"),
        ("method.num_context_tokens=16",),
    )
    for start, rate in itertools.product(starts, (0.002, 0.02)):
        yield "method=coop", *start, f"method.optimizer.lr={rate}"


def stage2() -> Iterator[tuple[str, ...]]:
    """NegPrompt: form of NIS, gamma, start of the negatives, learning rate."""
    starts = (
        ("method.negative_init=positive_uniform", "method.negative_noise=0.00001"),
        ("method.negative_init=normal", "method.negative_noise=0.02"),
    )
    forms = ("negatives_uniform", "multilabel_margin")
    yield ("method=negprompt_paper",)
    for form, start, gamma, rate in itertools.product(forms, starts, (0.05, 0.2, 1.0), (0.02,)):
        settings = (f"method.nis={form}", f"method.nnd_weight={gamma}", f"method.optimizer.lr={rate}")
        yield "method=negprompt", *settings, *start


def figures(overrides: tuple[str, ...], seed: int) -> dict[str, float]:
    """Validation figures of one run: ID accuracy, AUROC and FPR95 of the method's own score on each set."""
    words = [*FIXED, *overrides, f"seed={seed}", f"paths.runs_dir={HERE / 'runs'}"]
    (config,) = compositions("train", parse(words))
    metrics = api.train(build_request(plain(config))).metrics
    score = "negprompt" if "negprompt" in metrics["scores"] else "mcm"
    row = {"id_accuracy": metrics["id_accuracy"]}
    for name in SETS:
        row[f"auroc_{name}"] = metrics["scores"][score][name]["auroc"]
        row[f"fpr95_{name}"] = metrics["scores"][score][name]["fpr95_id_positive"]
    return row


def search(stage: str) -> None:
    """Run all candidates of a stage and write their means over seeds, best mean AUROC first."""
    candidates = list({"stage1": stage1, "stage2": stage2}[stage]())
    rows = []
    for number, overrides in enumerate(candidates, start=1):
        runs = [figures(overrides, seed) for seed in SEEDS]
        means = {key: statistics.mean(run[key] for run in runs) for key in runs[0]}
        rows.append({"settings": " ".join(overrides), **means})
        print(f"{number}/{len(candidates)} {line(rows[-1])}", flush=True)
    rows.sort(key=lambda row: -float(row["auroc_mean"]))
    target = HERE / f"{stage}.csv"
    with target.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    print(f"written to {target}")


def line(row: dict[str, object]) -> str:
    """Percent figures of one candidate."""
    sets = "  ".join(
        f"{100 * float(str(row[f'auroc_{name}'])):.1f}/{100 * float(str(row[f'fpr95_{name}'])):.1f}" for name in SETS
    )
    return f"acc {100 * float(str(row['id_accuracy'])):.1f}  {sets}  {row['settings']}"


def main() -> None:
    """Search one stage."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=("stage1", "stage2"))
    search(parser.parse_args().stage)


if __name__ == "__main__":
    sys.exit(main())
