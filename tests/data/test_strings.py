"""Packed names against a plain list of the same names."""

from __future__ import annotations

import os
import pickle

import numpy as np
import pytest

from negprompt.data.strings import Strings
from negprompt.errors import DataError

NAMES = [
    "plain.jpg",
    "",
    "grün/Öl.png",
    "犬/柴.jpeg",
    "🦊",
    "a b\tc",
    "carriage\rreturn",
    "line\u2028separator",
    "é",
    "é",
]


def test_names_come_back_as_they_were():
    packed = Strings.of(NAMES)
    assert list(packed) == NAMES
    assert [packed[place] for place in range(len(NAMES))] == NAMES
    assert list(reversed(packed)) == NAMES[::-1]


def test_a_name_that_is_not_utf8_is_the_same_file_afterwards(tmp_path):
    (tmp_path / os.fsdecode(b"caf\xe9.jpg")).write_bytes(b"x")
    (path,) = tmp_path.iterdir()
    (again,) = Strings.of([path.name])
    assert (tmp_path / again).read_bytes() == b"x"


BOUNDS = (None, -20, -3, -1, 0, 1, 4, 9, 10, 20)


@pytest.mark.parametrize("step", [None, 1, 2, 3, -1, -2])
def test_slices_are_those_of_a_list(step):
    packed = Strings.of(NAMES)
    for start in BOUNDS:
        for stop in BOUNDS:
            assert packed[start:stop:step] == NAMES[start:stop:step]


@pytest.mark.parametrize("place", [-10, -1, 0, 9, np.int64(3)])
def test_places_count_from_both_ends(place):
    assert Strings.of(NAMES)[place] == NAMES[place]


@pytest.mark.parametrize("place", [-11, 10])
def test_a_place_outside_is_an_index_error(place):
    with pytest.raises(IndexError):
        Strings.of(NAMES)[place]


def test_nothing_is_an_empty_sequence():
    packed = Strings.of([])
    assert (len(packed), list(packed), packed[:], packed[::-1]) == (0, [], [], [])


def test_more_names_than_are_decoded_at_once_keep_their_order():
    names = [f"{number:x}" * (number % 3) for number in range(70_000)]
    assert list(Strings.of(iter(names))) == names


def test_rows_are_taken_in_the_order_asked_for():
    assert list(Strings.of(NAMES).take(np.array([3, 0, 3]))) == [NAMES[3], NAMES[0], NAMES[3]]


def test_another_process_gets_the_same_names():
    assert list(pickle.loads(pickle.dumps(Strings.of(NAMES)))) == NAMES


def test_a_line_break_in_a_name_is_refused():
    with pytest.raises(DataError, match=r"'two\\nlines\.jpg' has a line break in it: rename that file"):
        Strings.of(["one.jpg", "two\nlines.jpg"])
