"""Remote shards: whole or absent, fetched once, bounded on the disk, and failures that say what to do."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import pickle
import shutil
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from shard_folders import SHOTS, ToysID, ToysOOD, listings, prepared, serving, write_pictures

from negprompt.data.base import load_split
from negprompt.data.shards import fetch
from negprompt.data.shards.archive import chunks, expand
from negprompt.data.shards.fetch import ShardCache, fetch_bytes, part_of, url_of
from negprompt.data.shards.folder import ShardFolder
from negprompt.errors import DataError, RunError

NAMES = ("train-000000.tar", "train-000001.tar", "train-000002.tar")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return write_pictures(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="module")
def whole(pictures, tmp_path_factory):
    folder = tmp_path_factory.mktemp("prepared") / "shards"
    prepared(pictures, folder)
    return folder


@pytest.fixture
def server(whole):
    with serving(whole) as started:
        yield started


@pytest.fixture
def cache(tmp_path):
    return ShardCache(tmp_path / "shards", 10**6)


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    """Tries follow each other without a wait."""
    monkeypatch.setattr(fetch, "_WAITS", (0.0, 0.0))


def old(path):
    """Let a file be used last an hour ago."""
    os.utime(path, (time.time() - 3600, time.time() - 3600))


def split_of(pictures, location, cache_dir, **changes):
    where = {"root": str(pictures), "shards": location, "cache_dir": str(cache_dir), **changes}
    return load_split(ToysID(name="toys", num_shots=SHOTS, **where), ToysOOD(name="toys", **where), 1)


# --- places --------------------------------------------------------------------------------------------------------


def test_the_file_goes_behind_the_address_or_where_the_braces_are():
    assert url_of("s3://bucket/toys/", "a b.tar") == "s3://bucket/toys/a%20b.tar"
    assert url_of("https://host/{}?key=1", "a.tar") == "https://host/a.tar?key=1"
    assert url_of("pipe:cat /x/{} | cat", "a.tar; rm -r /") == "pipe:cat /x/'a.tar; rm -r /' | cat"
    with pytest.raises(DataError, match=r"pipe:cat /x' has no \{\} for the file's name"):
        url_of("pipe:cat /x", "a.tar")


def test_patterns_are_expanded_as_webdataset_does():
    assert expand("a-{00..02}.tar") == ["a-00.tar", "a-01.tar", "a-02.tar"]
    assert expand("a-{0..1}.tar::https://host/b.tar") == ["a-0.tar", "a-1.tar", "https://host/b.tar"]
    with pytest.raises(DataError, match="cannot be read as a pattern"):
        expand("a-{00..02.tar")


@pytest.mark.parametrize("kind", ["http", "pipe", "pipe with a shell"])
def test_remote_shards_are_the_pictures_of_the_files(pictures, whole, server, tmp_path, kind):
    location = {
        "http": server.url,
        "pipe": f"pipe:cat {whole}/{{}}",
        "pipe with a shell": f"pipe:cd {whole} && cat < {{}} | cat",
    }[kind]
    files = load_split(
        ToysID(name="toys", num_shots=SHOTS, root=str(pictures)), ToysOOD(name="toys", root=str(pictures)), 1
    )
    split = split_of(pictures, location, tmp_path)
    assert split.sha256 == files.sha256
    assert list(split.train.encoded) == list(files.train.encoded)
    assert list(split.ood["far"].encoded) == list(files.ood["far"].encoded)
    assert list(pickle.loads(pickle.dumps(split.test.encoded))) == list(files.test.encoded)


def test_remote_shards_need_a_folder_for_copies(server):
    with pytest.raises(DataError, match=r"need a folder for local copies: set paths\.cache_dir"):
        ShardFolder.open(server.url, None, 1.0)


# --- whole or absent, and once -------------------------------------------------------------------------------------


def test_a_file_is_fetched_once_and_then_read_from_the_disk(whole, server, cache):
    for _ in range(3):
        path = cache.fetch(f"{server.url}/{NAMES[0]}", f"toys/{NAMES[0]}")
        assert path.read_bytes() == (whole / NAMES[0]).read_bytes()
    assert server.asked == [NAMES[0]]


def _fetch(url, folder, barrier):
    barrier.wait()
    ShardCache(folder, 10**6).fetch(url, "toys/one.tar")


def test_processes_and_threads_that_want_one_file_fetch_it_once(whole, server, tmp_path):
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(3)
    url = f"{server.url}/{NAMES[0]}"
    workers = [context.Process(target=_fetch, args=(url, tmp_path, barrier)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    assert server.asked == [NAMES[0]]
    with ThreadPoolExecutor(4) as pool:
        paths = list(pool.map(lambda _: ShardCache(tmp_path, 10**6).fetch(url, "toys/two.tar"), range(4)))
    assert {path.read_bytes() for path in paths} == {(whole / NAMES[0]).read_bytes()}
    assert len(server.asked) == 2


def test_a_half_fetched_file_of_a_killed_process_is_fetched_anew(whole, server, cache):
    path = cache.folder / "toys" / NAMES[0]
    path.parent.mkdir(parents=True)
    part_of(path).write_bytes(b"longer than it will be" * 5000)
    cache.fetch(f"{server.url}/{NAMES[0]}", f"toys/{NAMES[0]}")
    assert path.read_bytes() == (whole / NAMES[0]).read_bytes()
    assert not part_of(path).exists()


def test_what_fails_leaves_no_file_under_its_name(server, cache):
    server.broken[NAMES[0]] = [404]
    with pytest.raises(DataError):
        cache.fetch(f"{server.url}/{NAMES[0]}", f"toys/{NAMES[0]}")
    assert not (cache.folder / "toys" / NAMES[0]).exists()


# --- bounded -------------------------------------------------------------------------------------------------------


def bytes_in(folder):
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_the_cache_keeps_its_bound_and_removes_what_was_used_least_recently(whole, server, tmp_path):
    sizes = [(whole / name).stat().st_size for name in NAMES]
    cache = ShardCache(tmp_path, sizes[0] + sizes[1] + 100)
    paths = []
    for name, size in zip(NAMES, sizes, strict=True):
        if len(paths) == 2:
            old(paths[1])
        paths.append(cache.fetch(f"{server.url}/{name}", f"toys/{name}", size))
        assert bytes_in(tmp_path) <= cache.max_bytes
    assert [path.is_file() for path in paths] == [True, False, True]


def test_using_a_copy_keeps_it(whole, server, tmp_path):
    sizes = [(whole / name).stat().st_size for name in NAMES]
    cache = ShardCache(tmp_path, sizes[0] + sizes[1] + 100)
    first, second = (cache.fetch(f"{server.url}/{name}", f"toys/{name}", None) for name in NAMES[:2])
    old(first)
    old(second)
    cache.fetch(f"{server.url}/{NAMES[0]}", f"toys/{NAMES[0]}")
    cache.fetch(f"{server.url}/{NAMES[2]}", f"toys/{NAMES[2]}")
    assert (first.is_file(), second.is_file()) == (True, False)


def test_what_is_being_written_is_not_removed_but_a_leftover_is(whole, server, tmp_path):
    size = (whole / NAMES[0]).stat().st_size
    cache = ShardCache(tmp_path, 2 * size)
    live, leftover = (part_of(tmp_path / "toys" / name) for name in ("live.tar", "leftover.tar"))
    live.parent.mkdir()
    live.write_bytes(bytes(size))
    leftover.write_bytes(bytes(size))
    os.utime(leftover, (0, 0))
    cache.fetch(f"{server.url}/{NAMES[0]}", f"toys/{NAMES[0]}", size)
    assert (live.is_file(), leftover.is_file()) == (True, False)


def test_a_shard_larger_than_the_cache_is_refused(server, tmp_path):
    with pytest.raises(DataError, match=r"data\.shard_cache_gb=1e-06: raise that"):
        ShardCache(tmp_path, 1000).fetch(f"{server.url}/{NAMES[0]}", "toys/one.tar", 10240)


def test_readers_go_on_while_their_shards_are_removed_for_others(pictures, whole, server, tmp_path, caplog):
    largest = max(path.stat().st_size for path in whole.glob("*.tar")) + (whole / "train.npz").stat().st_size
    listing = ShardFolder.open(server.url, tmp_path, 2.5 * largest / 10**9).listing("train")
    expected = list(listings(pictures)["train"].contents)
    rows = np.random.default_rng(2).integers(0, len(listing), 60).tolist()
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(listing.contents.read, rows))
    assert found == [expected[row] for row in rows]
    assert bytes_in(tmp_path) <= 2.5 * largest
    assert len([name for name in server.asked if name.endswith(".tar")]) > len(listing.contents.shards.files)
    assert "is fetched again: raise data.shard_cache_gb" in caplog.text


# --- failures ------------------------------------------------------------------------------------------------------


def test_an_address_that_is_not_there_is_said_with_the_exit_code_and_not_tried_again(server):
    with pytest.raises(DataError, match=r"/gone\.tar cannot be fetched: curl ended with exit code 22 .*404.*address"):
        fetch_bytes(f"{server.url}/gone.tar")
    assert server.asked == ["gone.tar"]


def test_a_folder_without_index_is_said_at_the_start(server, tmp_path):
    with pytest.raises(DataError, match=r"/no/index\.json cannot be fetched: curl ended with exit code 22"):
        ShardFolder.open(f"{server.url}/no", tmp_path, 1.0)


def test_a_server_that_does_not_answer_is_tried_three_times(caplog):
    with pytest.raises(DataError, match=r"curl ended with exit code 7 .*; check that the host answers"):
        fetch_bytes("http://127.0.0.1:9/a.tar")
    assert sum("Trying again" in record.message for record in caplog.records) == 2


def test_a_command_that_works_the_third_time_is_enough(tmp_path):
    script = f"echo x >> {tmp_path}/tries; test $(wc -l < {tmp_path}/tries) -ge 3 && echo done"
    assert fetch_bytes(f"pipe:{script}") == b"done\n"


def test_a_command_that_is_not_installed_is_said_at_once(caplog):
    with pytest.raises(DataError, match=r"no-such-command ended with exit code 127 .*; install that command"):
        fetch_bytes("pipe:no-such-command --get it")
    assert "Trying again" not in caplog.text


@pytest.mark.parametrize(("scheme", "command"), [("s3", "aws"), ("gs", "gsutil")])
def test_a_missing_client_of_a_store_is_said(scheme, command, monkeypatch, tmp_path):
    (tmp_path / "sh").symlink_to(shutil.which("sh"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DataError, match=rf"{scheme}://bucket/a\.tar cannot be fetched: {command} ended .* 127"):
        fetch_bytes(f"{scheme}://bucket/a.tar")


def test_an_unknown_scheme_is_refused_with_those_that_work():
    with pytest.raises(DataError, match=r"cannot be opened .*http\(s\)://, s3://, gs:// or pipe:"):
        fetch_bytes("nfs4://host/a.tar")


@pytest.mark.parametrize("damage", ["short", "changed"])
def test_a_file_that_is_not_what_is_listed_is_refused(whole, cache, tmp_path, damage):
    right = (whole / NAMES[0]).read_bytes()
    (tmp_path / "bad.tar").write_bytes(right[:-512] if damage == "short" else b"x" + right[1:])
    with pytest.raises(DataError, match=r"bad\.tar has \d+ bytes with sha256 .* are listed: copy the shards"):
        cache.fetch(f"pipe:cat {tmp_path}/bad.tar", "toys/bad", len(right), hashlib.sha256(right).hexdigest())
    assert not (cache.folder / "toys" / "bad").exists()


def test_a_stream_that_fails_in_the_middle_is_an_error(whole):
    with pytest.raises(DataError, match=r"exit code 3 .*broken"):
        list(chunks(f"pipe:cat {whole}/{NAMES[0]}; echo broken >&2; exit 3"))


def test_a_stream_may_be_left_early():
    stream = chunks("pipe:yes", 10)
    assert next(stream) == b"y\n" * 5
    stream.close()


def test_a_shard_that_is_gone_stops_the_reader_with_its_address(pictures, server, tmp_path):
    split = split_of(pictures, server.url, tmp_path)
    server.broken["test-000000.tar"] = [404]
    with pytest.raises(DataError, match=rf"{server.url}/test-000000\.tar cannot be fetched"):
        split.test.encoded[0]


def test_a_cache_that_cannot_be_written_is_said(server, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(RunError, match=r"Cannot write .*: .*another paths\.cache_dir"):
        ShardCache(tmp_path / "file", 10**6).fetch(f"{server.url}/{NAMES[0]}", "toys/one.tar")


def test_new_shards_at_the_same_address_do_not_mix_with_old_copies(pictures, tmp_path):
    folder = tmp_path / "shards"
    location = f"pipe:cat {folder}/{{}}"
    prepared(pictures, folder)
    first = ShardFolder.open(location, tmp_path / "cache", 1.0).listing("test")
    list(first.contents)
    shutil.rmtree(folder)
    prepared(pictures, folder, max_bytes=40_000)
    text = fetch_bytes(url_of(location, "index.json"))  # as a new process would
    second = ShardFolder(location, text, ShardCache(tmp_path / "cache" / "shards", 10**6)).listing("test")
    assert len(second.contents.shards.files) < len(first.contents.shards.files)
    assert list(second.contents) == list(first.contents)
