"""The paper's printed numbers, with what in them does not agree with itself.

Source: Li et al., "Learning Transferable Negative Prompts for Out-of-Distribution Detection", CVPR 2024, Tables 2-5.
"""

from __future__ import annotations

import csv
import functools
import statistics
from importlib.resources import files
from typing import Literal, NamedTuple

MEAN = "Avg"
Rate = Literal["auroc", "fpr95"]

NOTES = {
    ("2", "CoOp", MEAN, "fpr95"): "printed 51.68; the mean of the four printed values is 38.94",
    ("2", "MCM", MEAN, "fpr95"): "printed 42.74; the mean of the four printed values is 41.99",
    ("2", "MCM", "SUN", "fpr95"): "printed 34.59; MCM's own paper has 37.59",
    ("2", "MSP", MEAN, "auroc"): "printed 74.98; the mean of the four printed values is 74.68",
    ("2", "MSP", MEAN, "fpr95"): "printed 76.22; the mean of the four printed values is 76.08",
    ("2", "LoCoOp (10%)", MEAN, "auroc"): "printed 90.15; the mean of the four printed values is 91.72",
    ("3", "LoCoOp", "Split-4", "fpr95"): (
        "printed 41.44, which an AUROC of 98.83 excludes (at most 97.93 goes with it); probably 4.144 or 4.44"
    ),
    ("3", "LoCoOp", MEAN, "fpr95"): "printed 34.15; rests on the impossible 41.44 of Split-4",
    ("5", "default (ViT-B-16 & 2 & two-stage)", MEAN, "auroc"): (
        "repeats the row of Table 2 that was learned on 10 % of the classes, with the accuracy of all classes"
    ),
}
"""What is wrong with a printed number, by table, system, data set and rate."""


class Printed(NamedTuple):
    """A number of the paper in percent, and what is wrong with it."""

    value: float
    note: str = ""


class _Numbers(NamedTuple):
    auroc: float | None
    fpr95: float | None
    accuracy: float | None


@functools.cache
def _all() -> dict[tuple[str, str, str], _Numbers]:
    text = files("negprompt.reports").joinpath("resources/paper_tables.csv").read_text(encoding="utf-8")
    return {
        (row["table"], row["method"], row["dataset"]): _Numbers(
            *(float(row[name]) if row[name] else None for name in _Numbers._fields)
        )
        for row in csv.DictReader(text.splitlines())
    }


def printed(table: str, system: str, data_set: str, rate: Rate) -> Printed | None:
    """What the paper prints, in percent; None where it has no such number.

    Args:
        table: "2", "3" or "5".
        system: its name in that table, with " (10%)" for prompts learned on a tenth of the classes.
        data_set: "iNaturalist", "SUN", "Places", "Texture"; "Split-1" to "Split-4"; "Avg".
        rate: which of the two.
    """
    numbers = _all().get((table, system, data_set))
    value = None if numbers is None else getattr(numbers, rate)
    return None if value is None else Printed(value, NOTES.get((table, system, data_set, rate), ""))


def recomputed_mean(table: str, system: str, rate: Rate) -> float | None:
    """The mean of the printed values of a row, in percent: what its printed average should be."""
    values = [
        getattr(numbers, rate)
        for (number, name, data_set), numbers in _all().items()
        if (number, name) == (table, system) and data_set != MEAN
    ]
    return statistics.fmean(values) if values and None not in values else None


def accuracy(system: str) -> float | None:
    """ID accuracy of Table 4 in percent; its CLIPN & MCM share one number."""
    return next(
        (
            numbers.accuracy
            for (table, name, _), numbers in _all().items()
            if table == "4" and name == system and numbers.accuracy is not None
        ),
        None,
    )


def systems(table: str) -> tuple[str, ...]:
    """Names of the rows of a table, in its order."""
    return tuple(dict.fromkeys(name for number, name, _ in _all() if number == table))
