"""Tests on a real Slurm: only where they are asked for, since they take minutes and need its programs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from slurm.cluster import Cluster, missing

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items):
    """Skip with the reason, or fail with it where they were asked for."""
    ours = [item for item in items if HERE in item.path.parents]
    if os.environ.get("NEGPROMPT_TEST_SLURM") != "1":
        for item in ours:
            item.add_marker(pytest.mark.skip(reason="needs a Slurm and some minutes: make test-slurm"))
    elif ours and (lacking := missing()):
        pytest.exit(f"tests/slurm needs {', '.join(lacking)}", returncode=1)


@pytest.fixture(scope="session")
def cluster(tmp_path_factory):
    """A Slurm of this machine whose jobs find this Python and this package, gone after the tests."""
    running = Cluster(tmp_path_factory.mktemp("slurm")).up()
    yield running
    running.down()
    assert not running.processes(), "the cluster left processes behind"
