"""Which of a run's scores stands for it in a table."""

from __future__ import annotations

import pytest

from negprompt.reports.collect import Statistic, SummaryRow
from negprompt.reports.headline import headline
from negprompt.scores.headline import headline_score


def rows(method, *scores):
    area = {"mean": Statistic(0.5, None)}
    return [
        SummaryRow("icons", method, "tiny_rn", 8, 1.0, None, score, (1,), Statistic(0.7, None), area, area)
        for score in scores
    ]


@pytest.mark.parametrize(
    ("method", "scores", "kept"),
    [
        ("negprompt", ("negprompt", "mcm", "energy"), ("negprompt",)),
        ("clipn", ("atd", "ctw", "mcm", "max_logit"), ("atd", "ctw")),
        ("clipn", ("ctw", "mcm"), ("ctw",)),
        ("zoc", ("zoc", "mcm", "max_logit"), ("zoc",)),
        ("zero_shot", ("mcm", "max_logit", "energy"), ("mcm", "max_logit")),
        ("coop", ("mcm", "max_logit"), ("mcm",)),
    ],
)
def test_a_method_s_own_scores_are_kept(method, scores, kept):
    assert tuple(row.score for row in headline(rows(method, *scores))) == kept


@pytest.mark.parametrize(
    ("scores", "one"),
    [
        (("mcm", "negprompt"), "negprompt"),
        (("mcm", "ctw", "atd"), "atd"),
        (("mcm", "zoc"), "zoc"),
        (("energy", "mcm"), "mcm"),
        (("msp",), "msp"),
    ],
)
def test_a_run_is_judged_by_one_score(scores, one):
    assert headline_score(scores) == one
