from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image
from tests.reports.summary_rows import row

from negprompt.errors import DataError, RunError
from negprompt.metrics.functional import auroc, fpr95_id_positive, id_threshold
from negprompt.reports.collect import Statistic
from negprompt.reports.figures import bars, histograms

GENERATOR = np.random.default_rng(0)
ID = 28 + GENERATOR.normal(2, 1, 300)
OOD = {f"set {i}": 28 + GENERATOR.normal(i / 2, 1, 100 + 50 * i) for i in range(5)}


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures instead of files."""
    kept: list[Figure] = []
    for module in (histograms, bars):
        monkeypatch.setattr(module, "save", lambda figure, _: kept.append(figure))
    return kept


def alike(value: float, std: float | None) -> dict[str, Statistic]:
    """Of a set and of the mean."""
    return dict.fromkeys(("near", "mean"), Statistic(value, std))


ROWS = [
    row("coop", alike(0.81, 0.01), alike(0.5, 0.02)),
    row("zero_shot", alike(0.44, None), alike(0.9, None)),
]


def test_each_ood_set_gets_a_panel_with_its_numbers(drawn: list[Figure]) -> None:
    histograms.score_histograms(ID, OOD, "energy", "unused.png")
    panels = [panel for panel in drawn[0].axes if panel.get_visible()]
    assert [panel.get_title() for panel in panels] == [
        f"{name}: AUROC {100 * auroc(ID, scores):.1f}, FPR95 {100 * fpr95_id_positive(ID, scores):.1f}"
        for name, scores in OOD.items()
    ]
    assert all(panel.lines[0].get_xdata()[0] == id_threshold(ID) for panel in panels)  # type: ignore[index]


def test_bins_are_shared_and_each_histogram_adds_up_to_100_percent(drawn: list[Figure]) -> None:
    histograms.score_histograms(torch.tensor(ID), OOD, "energy", "unused.png")
    stairs = [patch.get_data() for panel in drawn[0].axes for patch in panel.patches]  # type: ignore[attr-defined]
    assert len(stairs) == 4 * len(OOD)
    for values, edges, _ in stairs:
        assert np.array_equal(edges, stairs[0][1])
        assert values.sum() == pytest.approx(100, abs=1e-9)


def test_every_column_has_an_axis_label_also_above_an_empty_place(drawn: list[Figure]) -> None:
    histograms.score_histograms(ID, OOD, "energy", "unused.png")
    assert [bool(panel.get_xlabel()) for panel in drawn[0].axes] == [False, False, True, True, True, False]


def test_the_legend_names_id_ood_and_the_threshold(drawn: list[Figure]) -> None:
    histograms.score_histograms(ID, OOD, "energy", "unused.png")
    labels = [text.get_text() for text in drawn[0].legends[0].get_texts()]
    assert labels == ["ID", "OOD", "threshold that keeps 95 % of ID"]


@pytest.mark.parametrize("count", [1, 2, 4, 5])
def test_histograms_are_a_png_1200_pixels_wide(tmp_path: Path, count: int) -> None:
    path = tmp_path / "figures" / "histograms.png"
    histograms.score_histograms(ID, dict(list(OOD.items())[:count]), "energy", path, title="negprompt on icons")
    with Image.open(path) as image:
        assert (image.format, image.width) == ("PNG", 1200)
    assert [file.name for file in path.parent.iterdir()] == ["histograms.png"]


def test_equal_scores_and_names_with_dollars_are_drawn(tmp_path: Path) -> None:
    histograms.score_histograms(np.full(9, 0.2), {"a$b$\\c": np.full(4, 0.2)}, "m$", tmp_path / "a.png")
    assert (tmp_path / "a.png").is_file()


def test_a_failed_drawing_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"old")
    with pytest.raises(DataError, match="NaN"):
        histograms.score_histograms(ID, {"near": np.array([0.1, np.nan])}, "mcm", path)
    with pytest.raises(RunError, match="at least one OOD set"):
        histograms.score_histograms(ID, {}, "mcm", path)
    assert path.read_bytes() == b"old"


def test_bars_show_means_from_their_start_and_spread_as_error_bars(drawn: list[Figure]) -> None:
    bars.comparison_bars(ROWS, "unused.png")
    left, right = drawn[0].axes
    # barh from 50: 31 points above chance, and 6 below it
    assert [patch.get_x() + patch.get_width() for patch in left.patches] == pytest.approx([81, 44])  # type: ignore[attr-defined]
    assert [patch.get_x() for patch in right.patches] == [0, 0]  # type: ignore[attr-defined]
    assert [text.get_text() for text in left.texts] == ["81.0 ± 1.0", "44.0"]
    assert [text.get_text() for text in right.texts] == ["50.0 ± 2.0", "90.0"]
    assert left.get_xlim()[0] <= 44
    assert [label.get_text() for label in left.get_yticklabels()] == ["coop: mcm", "zero_shot: mcm"]


def test_bars_are_means_over_ood_sets_and_name_no_group_among_them(drawn: list[Figure]) -> None:
    values = {name: Statistic(area, None) for name, area in (("one", 0.7), ("far", 0.6), ("mean", 0.7))}
    bars.comparison_bars([ROWS[0]._replace(auroc=values, fpr95=values, groups=("far",))], "unused.png")
    assert [axes.get_xlabel() for axes in drawn[0].axes] == ["mean over one; 50 is chance", "mean over one"]
    assert [text.get_text() for text in drawn[0].axes[0].texts] == ["70.0"]


def test_bars_of_several_benchmarks_stand_in_one_png(tmp_path: Path) -> None:
    path = tmp_path / "bars.png"
    bars.comparison_bars([*ROWS, ROWS[0]._replace(benchmark="icons_hard_1", class_fraction=0.1)], path)
    with Image.open(path) as image:
        assert (image.format, image.width) == ("PNG", 1200)


def test_no_rows_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="at least one finished run"):
        bars.comparison_bars([], tmp_path / "bars.png")


def test_matplotlibs_global_list_of_figures_stays_empty(tmp_path: Path) -> None:
    bars.comparison_bars(ROWS, tmp_path / "bars.png")
    assert matplotlib.pyplot.get_fignums() == []
