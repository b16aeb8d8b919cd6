"""The shipped benchmark `icons` is what its frozen lists say, and no picture crosses a role or a split."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
RESOURCES = ROOT / "src" / "negprompt" / "data" / "resources" / "icons"
EXPERIMENT = ROOT / "experiments" / "icons"
SHIPPABLE = frozenset(
    ["MIT", "Apache-2.0", "ISC", "BSD-2-Clause", "BSD-3-Clause", "CC0-1.0", "CC-BY-3.0", "CC-BY-4.0", "Unlicense"]
)
BENCHMARK = json.loads((RESOURCES / "benchmark.json").read_text())
SHARDS = sorted(BENCHMARK["shards"])
ID_SHARDS = ["id_train.tar", "id_val.tar", "id_test.tar"]
OOD_KINDS = ["near", "symbols", "logos", "flags"]


@cache
def load(shard: str) -> dict[str, tuple[bytes, dict[str, str]]]:
    """Encoded picture and record of each key."""
    with tarfile.open(RESOURCES / shard) as archive:
        files = {member.name: archive.extractfile(member).read() for member in archive}
    keys = [name.removesuffix(".webp") for name in files if name.endswith(".webp")]
    return {key: (files[f"{key}.webp"], json.loads(files[f"{key}.json"])) for key in keys}


def names_in(shard: str) -> Counter[str]:
    """Pictures per class name."""
    return Counter(record["name"] for _, record in load(shard).values())


def families() -> dict[str, Any]:
    """Role, kin and sets of every family."""
    return json.loads((EXPERIMENT / "roles.json").read_text())["families"]


def frozen_names() -> dict[str, Any]:
    """The frozen lists of names."""
    return json.loads((EXPERIMENT / "names.json").read_text())


@pytest.mark.parametrize(("shard", "least"), [("id_train.tar", 8), ("id_val.tar", 2), ("id_test.tar", 6)])
def test_every_class_has_its_pictures(shard: str, least: int) -> None:
    counts = names_in(shard)
    assert set(counts) == set(BENCHMARK["class_names"])
    assert min(counts.values()) >= least


def test_labels_follow_sorted_wordnet_ids() -> None:
    assert 80 <= len(BENCHMARK["class_names"]) <= 100
    assert BENCHMARK["wordnet_ids"] == sorted(set(BENCHMARK["wordnet_ids"]))
    assert len(BENCHMARK["class_names"]) == len(BENCHMARK["wordnet_ids"])


def test_pool_counts_are_those_of_the_shard() -> None:
    assert BENCHMARK["pool"] == dict(names_in("id_train.tar"))


def test_resources_stay_below_fifteen_megabytes() -> None:
    assert sum(path.stat().st_size for path in RESOURCES.iterdir()) <= 15_000_000


@pytest.mark.parametrize("shard", SHARDS)
def test_shard_is_the_described_one(shard: str) -> None:
    entry = BENCHMARK["shards"][shard]
    content = (RESOURCES / shard).read_bytes()
    assert len(content) == entry["bytes"]
    assert hashlib.sha256(content).hexdigest() == entry["sha256"]
    assert len(load(shard)) == entry["count"]


@pytest.mark.parametrize("shard", SHARDS)
def test_pixels_and_records_give_the_content_hash(shard: str) -> None:
    size = BENCHMARK["image_size"]
    digest = hashlib.sha256()
    for key, (webp, record) in sorted(load(shard).items()):
        picture = Image.open(io.BytesIO(webp))
        assert (picture.mode, picture.size) == ("RGB", (size, size)), key
        digest.update(key.encode() + json.dumps(record, sort_keys=True).encode() + picture.tobytes())
    assert digest.hexdigest() == BENCHMARK["shards"][shard]["content_sha256"]


def test_frozen_hashes_hold() -> None:
    frozen = json.loads((EXPERIMENT / "hashes.json").read_text())
    for name in ("roles.json", "names.json"):
        assert hashlib.sha256((EXPERIMENT / name).read_bytes()).hexdigest() == frozen[name], name
    contents = "".join(f"{shard} {BENCHMARK['shards'][shard]['content_sha256']}\n" for shard in SHARDS)
    assert hashlib.sha256(contents.encode()).hexdigest() == frozen["benchmark_content"]


def test_keys_and_drawings_are_unique_over_all_shards() -> None:
    keys = Counter(key for shard in SHARDS for key in load(shard))
    drawings = Counter(record["icon"] for shard in SHARDS for _, record in load(shard).values())
    assert max(keys.values()) == 1
    assert max(drawings.values()) == 1


@pytest.mark.parametrize("kind", OOD_KINDS)
def test_ood_names_are_neither_id_names_nor_shared_with_the_twin(kind: str) -> None:
    test, val = set(names_in(f"{kind}_test.tar")), set(names_in(f"{kind}_val.tar"))
    id_words = {word for entry in frozen_names()["id"].values() for word in entry["drawn_as"]}
    assert not (test | val) & (set(BENCHMARK["class_names"]) | id_words)
    assert not test & val


def test_ood_sets_share_no_name() -> None:
    sets = [set(names_in(f"{kind}_{part}.tar")) for kind in OOD_KINDS for part in ("test", "val")]
    assert sum(map(len, sets)) == len(set.union(*sets))


def test_emoji_show_id_names() -> None:
    assert set(names_in("emoji_test.tar")) <= set(BENCHMARK["class_names"])


def test_no_family_no_set_and_no_kin_has_two_roles() -> None:
    sets = Counter(prefix for family in families().values() for prefix in family["sets"])
    assert max(sets.values()) == 1
    roles: dict[str, set[str]] = {}
    for family in families().values():
        if family["role"] != "excluded":
            roles.setdefault(family["kin"], set()).add(family["role"])
    assert all(len(found) == 1 for found in roles.values())


def test_every_excluded_family_says_why() -> None:
    excluded = [family for family in families().values() if family["role"] == "excluded"]
    assert all(family["reason"] for family in excluded)


@pytest.mark.parametrize("shard", SHARDS)
def test_pictures_are_by_benchmark_families_under_shippable_licences(shard: str) -> None:
    known = families()
    for key, (_, record) in load(shard).items():
        family = known[record["family"]]
        assert family["role"] == "benchmark", key
        assert family["sets"][record["icon"].split(":")[0]]["license"] == record["license"], key
        assert record["license"] in SHIPPABLE, key


def test_pretraining_families_have_shippable_licences() -> None:
    used = [family for family in families().values() if family["role"] == "pretrain"]
    assert {entry["license"] for family in used for entry in family["sets"].values()} <= SHIPPABLE


@pytest.mark.parametrize("split", ["1", "2", "3", "4"])
def test_hard_splits_are_disjoint_and_large_enough(split: str) -> None:
    hard = BENCHMARK["hard_splits"][split]
    class_names = BENCHMARK["class_names"]
    assert len(hard["id"]) >= 8
    assert not set(hard["id"]) & set(hard["ood"])
    assert hard["id"] == [name for name in class_names if name in hard["id"]]
    available = names_in("id_test.tar") + names_in("near_test.tar")
    assert all(available[name] > 0 for name in hard["ood"])
    assert sum(available[name] for name in hard["ood"]) >= 80


def test_fourth_hard_split_is_the_first_tenth_against_the_rest() -> None:
    class_names = BENCHMARK["class_names"]
    tenth = len(class_names) // 10
    hard = BENCHMARK["hard_splits"]["4"]
    assert (hard["id"], hard["ood"]) == (class_names[:tenth], class_names[tenth:])
