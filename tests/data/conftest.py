"""A whole benchmark, and a copy to damage."""

from __future__ import annotations

import pytest
from damage import copied, whole_benchmark


@pytest.fixture(scope="session")
def whole(tmp_path_factory):
    return whole_benchmark(tmp_path_factory.mktemp("whole"))


@pytest.fixture
def tree(whole, tmp_path):
    return copied(whole, tmp_path / "tree")
