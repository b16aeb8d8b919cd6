"""Shards: all samples or an error that names the file and what to do."""

from __future__ import annotations

import hashlib

import pytest
from helpers import encoded, picture, sample, write_shard

from negprompt.data.shards.archive import read_shard
from negprompt.errors import DataError


def content():
    return [
        member for place in range(5) for member in sample(f"bell-{place}", "bell", encoded(picture(0.1 * place, place)))
    ]


@pytest.fixture
def shard(tmp_path):
    path = tmp_path / "id_train.tar"
    write_shard(path, content())
    return path


def test_keys_pictures_and_fields_come_back_in_the_order_of_the_shard(shard):
    samples = read_shard(shard, hashlib.sha256(shard.read_bytes()).hexdigest())
    assert [one.key for one in samples] == [f"bell-{place}" for place in range(5)]
    assert [one.encoded for one in samples] == [encoded(picture(0.1 * place, place)) for place in range(5)]
    assert [one.fields for one in samples] == [{"name": "bell"}] * 5


def test_a_missing_shard_is_named(tmp_path):
    with pytest.raises(DataError, match=r"Shard .*gone\.tar is missing: .* data\.root"):
        read_shard(tmp_path / "gone.tar")


@pytest.mark.parametrize("share", [0.0, 0.3, 0.55, 0.8])
def test_a_truncated_shard_is_refused_by_its_hash(shard, share):
    whole = shard.read_bytes()
    shard.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(DataError, match=r"id_train\.tar is damaged or was altered"):
        read_shard(shard, hashlib.sha256(whole).hexdigest())


@pytest.mark.parametrize("cut", [100, 700, 5000])
def test_a_shard_that_ends_inside_a_member_is_refused_without_a_hash_too(shard, cut):
    shard.write_bytes(shard.read_bytes()[:cut])
    with pytest.raises(DataError, match=r"id_train\.tar"):
        read_shard(shard)


def test_one_altered_byte_is_refused_with_both_hashes(shard):
    whole = shard.read_bytes()
    shard.write_bytes(whole[:600] + bytes([whole[600] ^ 1]) + whole[601:])
    with pytest.raises(DataError, match=f"expected {hashlib.sha256(whole).hexdigest()[:12]}"):
        read_shard(shard, hashlib.sha256(whole).hexdigest())


def test_something_that_is_no_tar_is_refused(tmp_path):
    path = tmp_path / "page.tar"
    path.write_bytes(b"<html>404</html>" * 100)
    with pytest.raises(DataError, match=r"page\.tar cannot be read"):
        read_shard(path)


@pytest.mark.parametrize(("lacking", "ending"), [(0, "json"), (1, "webp")])
def test_a_sample_without_one_of_its_files_is_named(tmp_path, lacking, ending):
    path = tmp_path / "s.tar"
    members = content()
    del members[4 + lacking]
    write_shard(path, members)
    with pytest.raises(DataError, match=rf"Sample 'bell-2' of shard .* has no \.{ending} member"):
        read_shard(path)


def test_a_damaged_json_is_an_error_of_its_shard(tmp_path):
    path = tmp_path / "s.tar"
    members = content()
    members[0] = (members[0][0], b'{"name": "be')
    write_shard(path, members)
    with pytest.raises(DataError, match=r"s\.tar cannot be read"):
        read_shard(path)


def test_a_key_that_occurs_twice_is_refused(tmp_path):
    path = tmp_path / "s.tar"
    write_shard(path, [*content(), *content()[:2]])
    with pytest.raises(DataError, match="bell-0"):
        read_shard(path)


def test_a_folder_with_braces_and_spaces_in_its_name_is_only_a_folder(tmp_path):
    folder = tmp_path / "run {1..3} of a"
    folder.mkdir()
    write_shard(folder / "s.tar", content())
    assert len(read_shard(folder / "s.tar")) == 5
