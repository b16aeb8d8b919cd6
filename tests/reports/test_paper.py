from __future__ import annotations

import pytest

from negprompt.reports import paper


def test_printed_numbers_are_found_by_table_system_and_set() -> None:
    assert paper.printed("2", "NegPrompt", "iNaturalist", "fpr95") == (6.32, "")
    assert paper.printed("3", "NegPrompt", "Split-1", "auroc") == (99.85, "")
    assert paper.printed("5", "one_stage", "Avg", "auroc") is None
    assert paper.accuracy("NegPrompt (10%)") == 71.9
    assert paper.systems("4") == ("CoOp", "LoCoOp", "CLIPN", "MCM", "NegPrompt (10%)", "NegPrompt")


@pytest.mark.parametrize(
    ("table", "system", "rate", "recomputed"),
    [
        ("2", "CoOp", "fpr95", 38.94),
        ("2", "MCM", "fpr95", 41.99),
        ("2", "MSP", "auroc", 74.68),
        ("2", "LoCoOp (10%)", "auroc", 91.72),
    ],
)
def test_averages_that_contradict_their_row_have_a_note_with_the_recomputed_value(
    table: str, system: str, rate: paper.Rate, recomputed: float
) -> None:
    mean = paper.recomputed_mean(table, system, rate)
    assert mean == pytest.approx(recomputed, abs=0.006)
    printed = paper.printed(table, system, "Avg", rate)
    assert printed is not None
    assert f"{recomputed:.2f}" in printed.note


def test_every_other_printed_average_agrees_with_its_row_within_rounding() -> None:
    for table in ("2", "3"):
        for system in paper.systems(table):
            for rate in ("auroc", "fpr95"):
                printed = paper.printed(table, system, "Avg", rate)
                mean = paper.recomputed_mean(table, system, rate)
                assert printed is not None
                assert mean is not None
                if not printed.note or "Split-4" in printed.note:
                    assert printed.value == pytest.approx(mean, abs=0.0125), (table, system, rate)


def test_every_note_belongs_to_a_printed_number() -> None:
    for table, system, data_set, rate in paper.NOTES:
        assert paper.printed(table, system, data_set, rate) is not None, (table, system, data_set, rate)
