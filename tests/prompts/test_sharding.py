"""Classes shared out over processes: which name goes where; `tests/end_to_end/test_processes.py` runs them."""

from __future__ import annotations

import pytest
import torch

from negprompt.prompts.sharding import gather, my_share, shares

LENGTHS = [6, 7, 18, 6, 9, 6, 6, 7]


@pytest.mark.parametrize("parts", [1, 2, 3, 5, 8, 13])
def test_gathered_rows_are_those_of_all_names_in_order(parts):
    everything = torch.arange(len(LENGTHS)) * 10
    dealt = shares(LENGTHS, parts)
    gathered = torch.cat([everything[share.rows] for share in dealt])
    assert all(torch.equal(gathered[share.back], everything) for share in dealt)


@pytest.mark.parametrize("parts", [2, 3, 13])
def test_all_shares_are_equally_long(parts):
    assert {len(share.rows) for share in shares(LENGTHS, parts)} == {-(-len(LENGTHS) // parts)}


def test_tokens_are_shared_out_evenly():
    lengths = [*range(1, 101)]
    tokens = [sum(lengths[row] for row in share.rows) for share in shares(lengths, 2)]
    assert abs(tokens[0] - tokens[1]) <= 50  # half of 100 names, one token apart


def test_a_single_process_has_all_names_in_their_own_order():
    share = my_share(LENGTHS)
    assert share.rows.tolist() == list(range(len(LENGTHS)))
    features = torch.randn(len(LENGTHS), 2)
    assert gather(features, share) is features
