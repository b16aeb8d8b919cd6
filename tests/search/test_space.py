"""Spaces of a search: what may vary, how values are written, and what is refused."""

from __future__ import annotations

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from negprompt.errors import ConfigError
from negprompt.search import space as spaces

CONFIG = {
    "seed": 1,
    "data": {"num_shots": 8},
    "method": {"_target_": "x", "lr": 0.1, "layers": 2, "words": "a photo", "optimizer": {"epochs": 10}},
    "features": {}, "trainer": {}, "score": {},
}  # fmt: skip

REFUSED = {
    "nothing": ({}, "search.space is empty", "search_space=negprompt"),
    "the seed": ({"seed": [1, 2]}, "search.space.seed", "search.seeds=[1,2,3]"),
    "pictures": ({"data.num_shots": [1, 2]}, "search.space.data.num_shots", "method, features, trainer, score"),
    "a typing error": ({"method.lrr": [1]}, "unknown setting", "did you mean 'method.lr'?"),
    "a group of settings": ({"method.optimizer": [1]}, "is a group of settings", "method.optimizer.epochs"),
    "the class": ({"method._target_": ["a"]}, "unknown setting"),
    "one value": ({"method.lr": 0.1}, "search.space.method.lr=0.1", "a list of choices"),
    "no choice": ({"method.lr": []}, "there is no choice"),
    "a list as a choice": ({"method.lr": [[1, 2]]}, "[1, 2] is no single value"),
    "a choice twice": ({"method.lr": [1, 2, 1]}, "1 stands there twice"),
    "no upper end": ({"method.lr": {"low": 1}}, "search.space.method.lr.high=null: should be a number"),
    "an end that is text": ({"method.lr": {"low": "a", "high": 1}}, "search.space.method.lr.low=a"),
    "an unknown key": ({"method.lr": {"low": 0, "hihg": 1}}, "unknown key 'hihg'", "did you mean 'high'?"),
    "ends exchanged": ({"method.lr": {"low": 1.0, "high": 0.1}}, "low=1.0 is not below high=0.1"),
    "a logarithm of 0": ({"method.lr": {"low": 0, "high": 1.0, "log": True}}, "low=0 has no logarithm"),
    "steps on a logarithm": ({"method.lr": {"low": 1, "high": 9, "step": 2, "log": True}}, "step=2 has no place in it"),
    "a step that leads nowhere": ({"method.lr": {"low": 1, "high": 9, "step": 0}}, "step=0", "above 0"),
    "log that is a word": ({"method.lr": {"low": 1, "high": 9, "log": "yes"}}, "log=yes: should be true or false"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_bad_space_is_refused_with_what_is_allowed(name):
    nodes, *fragments = REFUSED[name]
    with pytest.raises(ConfigError) as error:
        spaces.parse(nodes, CONFIG)
    assert not [fragment for fragment in fragments if fragment not in str(error.value)], str(error.value)


def test_whole_ends_make_whole_numbers():
    space = spaces.parse(
        {
            "method.layers": {"low": 1, "high": 9, "step": 2},
            "method.optimizer.epochs": {"low": 1, "high": 9.0},
            "method.lr": {"low": 1, "high": 9, "step": 0.5},
        },
        CONFIG,
    )
    assert [part.is_whole for part in space.values()] == [True, False, False]


@pytest.mark.parametrize(
    ("node", "holds"),
    [
        ([1, 2, 4], True),
        ([1, 4], False),
        ([2.0, 4.0], False),  # 2 and 2.0 are other settings to a run's hash
        ({"low": 1, "high": 2}, True),
        ({"low": 1, "high": 4, "step": 2}, False),
        ({"low": 2.5, "high": 4}, False),
    ],
)
def test_the_settings_as_they_stand_are_tried_where_the_space_has_them(node, holds):
    space = spaces.parse({"method.layers": node}, CONFIG)
    assert spaces.current(space, CONFIG) == ({"method.layers": 2} if holds else None)


@pytest.mark.parametrize(
    "value",
    [1, -2, 0.5, 1e-05, 1.5e300, True, False, None, "coop", "a photo of a", "true", "1", "it's \\ {a}", "", " x "],
)
def test_hydra_reads_back_what_is_written(value):
    (word,) = spaces.overrides({"method.x": value})
    (override,) = OverridesParser.create().parse_overrides([word])
    read = override.value()
    read = read if isinstance(read, bool | int | float) or read is None else str(getattr(read, "text", read))
    assert (type(read), read) == (type(value), value)
