"""The pictures of a draw from remote shards: each shard streamed once, only what is wanted kept."""

from __future__ import annotations

import os
import pickle
import shutil
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from shard_folders import listings, prepared, serving, write_pictures

from negprompt.data.contents import AlteredError
from negprompt.data.shards import fetch
from negprompt.data.shards.excerpt import Excerpt, cut, excerpt
from negprompt.data.shards.fetch import ShardCache
from negprompt.data.shards.folder import ShardFolder
from negprompt.data.shards.members import ShardMembers, Shards
from negprompt.errors import DataError

ROWS = np.array([20, 3, 4, 9, 0])


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return write_pictures(tmp_path_factory.mktemp("pictures"))


@pytest.fixture
def shards(pictures, tmp_path):
    prepared(pictures, tmp_path / "remote")
    return tmp_path / "remote"


@pytest.fixture
def server(shards):
    with serving(shards) as started:
        yield started


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    monkeypatch.setattr(fetch, "_WAITS", (0.0, 0.0))


def drawn(location, cache, cache_gb=1.0):
    return ShardFolder.open(str(location), cache, cache_gb).listing("train").take(ROWS)


def needed(listing):
    members = listing.contents
    return sorted({members.shards.files[number].name for number in members.members.shard})


def expected(pictures):
    contents = listings(pictures)["train"].contents
    return [contents[int(row)] for row in ROWS]


def change(shards, listing, place):
    """Overwrite the first byte of a picture in its shard; returns the shard and what was in it."""
    members = listing.contents.members
    path = shards / listing.contents.shards.files[members.shard[place]].name
    whole = path.read_bytes()
    start = int(members.offset[place])
    path.write_bytes(whole[:start] + bytes(1) + whole[start + 1 :])
    return path, whole


def test_each_shard_is_streamed_once_and_not_kept(pictures, server, tmp_path):
    listing = drawn(server.url, tmp_path)
    server.asked.clear()
    found = excerpt(listing)
    assert sorted(server.asked) == needed(listing)
    assert list(found.contents) == expected(pictures)
    assert list(found.keys) == list(listing.keys)
    assert found.class_of.tolist() == listing.class_of.tolist()
    assert sorted(server.asked) == needed(listing)
    assert not list((tmp_path / "shards").rglob("*.tar"))
    sizes = [path.stat().st_size for path in (tmp_path / "shards" / "excerpts").glob("[!.]*")]
    assert sizes == [sum(map(len, expected(pictures)))]


def test_the_next_run_reads_what_the_first_one_kept(pictures, server, tmp_path):
    excerpt(drawn(server.url, tmp_path))
    server.asked.clear()
    assert list(excerpt(drawn(server.url, tmp_path)).contents) == expected(pictures)
    assert server.asked == []


def test_an_excerpt_can_be_pickled_and_taken_from(pictures, server, tmp_path):
    contents = pickle.loads(pickle.dumps(excerpt(drawn(server.url, tmp_path)).contents))
    part = contents.take([3, 0])
    assert list(part) == [expected(pictures)[3], expected(pictures)[0]]
    assert part.place(0) == drawn(server.url, tmp_path).contents.place(3)


def test_local_shards_and_shards_that_are_here_need_no_excerpt(shards, server, tmp_path):
    local = drawn(shards, None)
    assert excerpt(local) is local
    listing = drawn(server.url, tmp_path)
    list(listing.contents)
    assert excerpt(listing) is listing


def test_an_interrupted_excerpt_goes_on_with_what_is_lacking(pictures, shards, server, tmp_path):
    listing = drawn(server.url, tmp_path)
    last = needed(listing)[-1]
    server.broken[last] = [404]
    with pytest.raises(DataError, match=last):
        excerpt(listing)
    server.asked.clear()
    assert list(excerpt(listing).contents) == expected(pictures)
    assert last in server.asked
    assert len(server.asked) < len(needed(listing)) or len(needed(listing)) == 1


def test_a_removed_excerpt_is_replaced_by_the_shards(pictures, server, tmp_path):
    found = excerpt(drawn(server.url, tmp_path))
    assert isinstance(found.contents, Excerpt)
    shutil.rmtree(tmp_path / "shards" / "excerpts")
    assert list(found.contents) == expected(pictures)


def test_an_excerpt_has_to_fit_into_the_cache(server, tmp_path):
    listing = drawn(server.url, tmp_path)
    members = listing.contents
    small = Shards(members.shards.files, ShardCache(tmp_path / "small", 100))
    found = replace(listing, contents=ShardMembers(small, members.members, members.keys, members.known))
    with pytest.raises(DataError, match=r"data\.shard_cache_gb=1e-07: raise that"):
        excerpt(found)


def test_a_changed_picture_stops_and_is_named_with_shard_and_key(shards, server, tmp_path):
    listing = drawn(server.url, tmp_path)
    path, _ = change(shards, listing, 2)
    with pytest.raises(AlteredError, match=rf"1 of 5 pictures .*'{listing.keys[2]}' \(shard .*{path.name}, key"):
        excerpt(listing)


def test_a_changed_picture_is_left_out_on_request_until_it_is_mended(pictures, shards, server, tmp_path, caplog):
    listing = drawn(server.url, tmp_path)
    path, whole = change(shards, listing, 2)
    for _ in range(2):
        found = excerpt(listing, "skip")
        assert list(found.keys) == [listing.keys[place] for place in (0, 1, 3, 4)]
        assert list(found.contents) == [expected(pictures)[place] for place in (0, 1, 3, 4)]
    assert listing.keys[2] in caplog.text
    path.write_bytes(whole)
    assert list(excerpt(listing, "skip").contents) == expected(pictures)


def test_a_remote_shard_that_ends_early_is_a_changed_picture(shards, server, tmp_path):
    listing = drawn(server.url, tmp_path)
    members = listing.contents.members
    last = int(np.argmax(members.offset * (members.shard == members.shard[0])))
    path = shards / listing.contents.shards.files[members.shard[last]].name
    os.truncate(path, int(members.offset[last]) + 5)
    with pytest.raises(AlteredError, match=path.name):
        excerpt(listing)


@pytest.mark.parametrize("length", [1, 3, 7, 100])
def test_parts_of_a_stream_do_not_depend_on_its_pieces(length):
    whole = bytes(range(100))
    pieces = (whole[start : start + length] for start in range(0, 100, length))
    spans = [(0, 2), (2, 5), (30, 1), (31, 0), (60, 40)]
    assert all(one[0] + one[1] <= other[0] for one, other in pairwise(spans))
    assert list(cut(pieces, spans)) == [whole[offset : offset + size] for offset, size in spans]


def test_parts_behind_the_end_of_a_stream_are_short():
    assert list(cut(iter([b"abc"]), [(1, 1), (2, 4), (8, 2)])) == [b"b", b"c", b""]
