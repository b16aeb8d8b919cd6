"""What a search shows: best first in the direction of its metric, failures named, exact settings in the csv."""

from __future__ import annotations

import csv
import io

import pytest
from matplotlib.figure import Figure
from rich.console import Console

from negprompt.reports import search
from negprompt.search.outcome import Trial


def trial(number, value, lr=0.01, kind="a", **notes):
    return Trial(number, {"method.lr": lr, "method.kind": kind}, "failed" if value is None else "done", value, notes)


TRIALS = [trial(0, 0.8), trial(1, None, error="it broke"), trial(2, 0.9, 0.1 + 0.2, "b"), trial(3, 0.9, kind=None)]


@pytest.mark.parametrize(("metric", "order"), [("auroc", [2, 3, 0, 1]), ("fpr95_id_positive", [0, 2, 3, 1])])
def test_the_best_stand_first_and_failed_ones_last(metric, order):
    assert [one.number for one in search.ranked(TRIALS, metric)] == order


def test_a_line_names_value_best_settings_and_failures():
    line = search.progress(TRIALS[0], TRIALS[2], 20, "auroc")
    assert line == "trial 1/20  auroc 80.00 (best 90.00, trial 3)  method.lr=0.01 method.kind=a  0 s"
    assert "failed: it broke" in search.progress(TRIALS[1], None, 20, "auroc")


def test_the_csv_holds_exact_settings_and_fractions():
    rows = list(csv.DictReader(io.StringIO(search.trials_csv(TRIALS, ["method.lr", "method.kind"], "auroc"))))
    assert [row["trial"] for row in rows] == ["3", "4", "1", "2"]
    assert float(rows[0]["method.lr"]) == 0.1 + 0.2
    assert (rows[3]["state"], rows[3]["auroc"], rows[3]["error"]) == ("failed", "", "it broke")


def test_the_table_has_a_row_a_trial():
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(search.trials_table(TRIALS, "auroc"))
    text = console.export_text()
    assert [line.split()[:2] for line in text.splitlines() if line.strip()[:1].isdigit()] == [
        ["3", "90.00"],
        ["4", "90.00"],
        ["1", "80.00"],
        ["2", "failed"],
    ]


@pytest.mark.parametrize(("metric", "best"), [("auroc", [80, 90, 90]), ("fpr95_id_positive", [80, 80, 80])])
def test_the_figure_shows_the_best_so_far_and_a_panel_a_setting(monkeypatch, tmp_path, metric, best):
    drawn: list[Figure] = []
    monkeypatch.setattr(search, "save", lambda figure, _: drawn.append(figure))
    search.trials_figure(TRIALS, metric, {"method.lr"}, tmp_path / "trials.png")
    history, by_rate, by_kind = drawn[0].axes
    assert history.lines[0].get_ydata() == pytest.approx(best)
    assert (by_rate.get_xscale(), by_rate.get_xlabel(), by_kind.get_xlabel()) == ("log", "method.lr", "method.kind")
    assert [label.get_text() for label in by_kind.get_xticklabels()] == ["a", "b", "null"]
