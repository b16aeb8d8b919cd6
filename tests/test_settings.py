"""Settings: nothing is converted, nothing unknown is taken, and the hash sees what can change a result."""

from __future__ import annotations

from typing import Annotated

import pytest
from pydantic import Field, ValidationError

from negprompt.settings import LATER, Settings, settings_target


class Inner(Settings):
    """A nested node."""

    rate: float = 0.1
    workers: Annotated[int, Field(exclude=True)] = 0
    added: int = Field(3, json_schema_extra=LATER)


class Outer(Settings):
    """A node."""

    name: str
    count: Annotated[int, Field(ge=1)] = 1
    inner: Inner = Inner()
    added: str | None = Field(None, json_schema_extra=LATER)


@pytest.mark.parametrize("value", ["3", 3.0, True, None, 0, -1])
def test_a_number_is_not_guessed_from_something_else(value):
    with pytest.raises(ValidationError, match="count"):
        Outer(name="a", count=value)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_rate_is_a_finite_number(value):
    with pytest.raises(ValidationError, match="rate"):
        Inner(rate=value)


def test_an_unknown_key_is_an_error():
    with pytest.raises(ValidationError, match="counts"):
        Outer(name="a", counts=2)


def test_settings_never_change():
    with pytest.raises(ValidationError, match="frozen"):
        Outer(name="a").count = 2


def test_the_hash_sees_values_at_every_depth():
    payload = Outer(name="a", count=2, inner=Inner(rate=0.5)).hash_payload()
    assert payload == {"name": "a", "count": 2, "inner": {"rate": 0.5}}


def test_what_cannot_change_a_result_is_not_in_the_hash():
    one, two = (Outer(name="a", inner=Inner(workers=workers)).hash_payload() for workers in (0, 8))
    assert one == two


def test_a_later_field_enters_the_hash_when_it_leaves_its_default():
    assert "added" not in Outer(name="a").hash_payload()
    assert Outer(name="a", added="x").hash_payload()["added"] == "x"
    assert Outer(name="a", inner=Inner(added=4)).hash_payload()["inner"] == {"rate": 0.1, "added": 4}


def test_a_node_made_of_settings_builds_them_again():
    settings = Outer(name="a", count=3, inner=Inner(rate=0.7))
    node = dict(settings_target(settings))
    module, cls = node.pop("_target_").rsplit(".", 1)
    assert (module, cls) == (__name__, "Outer")
    assert Outer(**node) == settings
