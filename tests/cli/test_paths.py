"""The yaml files are found in a checkout and in an installed package."""

from __future__ import annotations

import pytest

from negprompt.cli import paths
from negprompt.errors import ConfigError


@pytest.fixture
def module_in(tmp_path, monkeypatch):
    def place(folder):
        (tmp_path / folder / "cli").mkdir(parents=True)
        monkeypatch.setattr(paths, "__file__", str(tmp_path / folder / "cli" / "paths.py"))
        return tmp_path / folder

    return place


def test_this_installation_has_its_yaml_files():
    assert (paths.conf_dir() / "train.yaml").is_file()


def test_a_checkout_has_them_at_the_top(module_in):
    package = module_in("src/negprompt")
    conf = package.parents[1] / "conf"
    conf.mkdir()
    assert paths.conf_dir() == conf


def test_the_package_s_own_come_first(module_in):
    package = module_in("src/negprompt")
    (package.parents[1] / "conf").mkdir()
    (package / "conf").mkdir()
    assert paths.conf_dir() == package / "conf"


def test_a_damaged_installation_is_named(module_in):
    module_in("src/negprompt")
    with pytest.raises(ConfigError, match="install negprompt again"):
        paths.conf_dir()
