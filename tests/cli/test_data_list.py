"""`negprompt data list`: what is known of each data set, and whether it is here."""

from __future__ import annotations

import re

import miniatures
import pytest
from command_line import one_message

from negprompt.data.catalogue import catalogue

HEADING = re.compile(r"^(\w+): (here|missing) \((.+)\)$", re.MULTILINE)


@pytest.fixture(autouse=True)
def _a_terminal_of_80_columns(monkeypatch, tmp_path):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("NEGPROMPT_DATA", str(tmp_path))


def states(said):
    return {key: state for key, state, _ in HEADING.findall(said.out)}


def flat(text):
    return re.sub(r"\s+", " ", text)


def test_where_nothing_is_here_every_set_is_told_and_nothing_fails(negprompt, tmp_path):
    said = negprompt("data", "list")
    assert (said.code, said.err) == (0, "")
    assert states(said) == {entry.key: "here" if entry.key == "icons" else "missing" for entry in catalogue()}
    for entry in catalogue():
        assert all(flat(text) in flat(said.out) for text in (entry.what, entry.licence, entry.size, entry.source))
    assert f"here 1 of {len(catalogue())}: icons missing {len(catalogue()) - 1}" in flat(said.out)
    assert not list(tmp_path.iterdir())


def test_it_fits_80_columns_and_nothing_is_cut(negprompt):
    out = negprompt("data", "list").out
    assert max(map(len, out.splitlines())) <= 80
    assert "…" not in out


def test_the_address_of_a_download_stays_on_one_line(negprompt):
    out = negprompt("data", "list").out
    for entry in catalogue():
        for address in re.findall(r"https?://\S+|gdown ([\w-]{33})", entry.source):
            assert address in out


def test_what_lies_in_the_data_root_is_here_with_its_path(negprompt, tmp_path):
    miniatures.conventional(tmp_path, per_set=1)
    said = negprompt("data", "list")
    assert {key for key, state in states(said).items() if state == "here"} == {
        *("icons", "iNaturalist", "SUN", "Places", "Texture")
    }
    assert str(tmp_path / "SUN" / "images") in re.sub(r"\s+", "", said.out)


def test_the_roots_of_the_data_sets_can_be_given(negprompt, tmp_path):
    ids = miniatures.resource("wordnet_ids.txt")[:1]
    root = miniatures.imagenet(tmp_path / "other" / "place", wordnet_ids=ids)
    assert states(negprompt("data", "list", "imagenet_1k")) == {"imagenet_1k": "missing"}
    assert states(negprompt("data", "list", "imagenet_1k", f"imagenet_1k.root={root}")) == {"imagenet_1k": "here"}


def test_one_set_is_told_in_full(negprompt):
    said = negprompt("data", "list", "Places")
    assert said.code == 0
    assert HEADING.findall(said.out) == [("Places", "missing", "OOD, 10,000 pictures")]
    assert "use with ood=conventional, ood=imagenet_1k" in flat(said.out)
    assert "227 (55%) show an ImageNet class" in flat(said.out)
    assert "looked for Places/images" in flat(said.out)


def test_the_name_of_an_option_tells_all_that_it_reads(negprompt):
    assert list(states(negprompt("data", "list", "conventional"))) == ["iNaturalist", "SUN", "Places", "Texture"]


def test_a_wrong_name_is_answered_with_the_nearest(negprompt):
    one_message(negprompt("data", "list", "nimco"), 2, "name=nimco", "did you mean 'ninco'?")


def test_a_wrong_setting_is_refused(negprompt):
    one_message(negprompt("data", "list", "name=7"), 2, "name=7")
    one_message(negprompt("data", "list", "openood.part=train"), 2, "openood.part")


def test_help_shows_examples_and_settings(negprompt):
    said = negprompt("data", "list", "--help")
    assert (said.code, said.err) == (0, "")
    assert "negprompt data list Places" in said.out
    assert "Settings (change with key=value):" in said.out
