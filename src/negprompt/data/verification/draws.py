"""Few-shot draws as a check looks at them: damaged files, and the pictures of a draw; nothing is written."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from negprompt.data import few_shot
from negprompt.data import manifest as manifests
from negprompt.data.base import IDSets, Problem, num_train_classes
from negprompt.data.listed import ListedID
from negprompt.data.listing import Listing
from negprompt.data.verification.wording import counted, few
from negprompt.errors import DataError

_NAME = re.compile(r"(?P<data>.+)-(?P<shots>\d+)shots-seed(?P<seed>\d+)-[0-9a-f]{8}\.json")
SET_NAME = "few-shot draws"


class _Damage(NamedTuple):
    what: str
    fix: str


def drawn_rows(id_sets: IDSets, listing: Listing, seed: int) -> npt.NDArray[np.int64]:
    """Rows of the training pictures that a run with this seed takes.

    A class with too few pictures, and a draw whose file is damaged, are left to the other checks: the rows are drawn
    from what is there.
    """
    if not isinstance(id_sets, ListedID):
        rows = listing.rows_of(id_sets.load(seed).train.keys)
        return rows[rows >= 0]
    keys = _trained(id_sets)
    path = _path(id_sets, keys, seed)
    if path is not None and path.is_file():
        try:
            rows = listing.rows_of([key for class_key, key in manifests.read(path).pictures if class_key in set(keys)])
            return rows[rows >= 0]
        except DataError:
            pass
    pools = [(key, rows) for key, rows in listing.rows_by_class(keys) if len(rows) >= id_sets.num_shots]
    return np.array(few_shot.draw(listing.keys, pools, id_sets.num_shots, seed), np.int64)


def draw_problems(id_sets: IDSets, listing: Listing) -> Iterator[Problem]:
    """Kept draws of this data set that runs would refuse.

    Args:
        id_sets: settings of the ID sets.
        listing: all training pictures.
    """
    if not isinstance(id_sets, ListedID):
        return
    keys = _trained(id_sets)
    mark = id_sets.manifest_name(keys, 0)[-len("-00000000.json") :]
    for path in _kept(id_sets):
        own = path.name.endswith(mark)
        damage = _damage(path, listing, whole=own or id_sets.manifest is not None)
        if damage is not None:
            yield Problem(SET_NAME, damage.what, damage.fix, examples=(str(path),))


def _damage(path: Path, listing: Listing, *, whole: bool) -> _Damage | None:
    """What is wrong with a draw; `whole`: it is of these classes, so that its pictures must be there."""
    again = "Delete the file, and the next run draws again from the pictures; or copy the original again."
    try:
        drawn = manifests.read(path)
    except DataError as error:
        altered = "was altered" in str(error)
        return _Damage(
            f"a draw {'was altered after it was written' if altered else 'is damaged or cannot be read'}", again
        )
    named = _NAME.fullmatch(path.name)
    if named and named.groups() != (drawn.data, str(drawn.num_shots), str(drawn.seed)):
        says = f"{drawn.data}, {drawn.num_shots} shots, seed {drawn.seed}"
        return _Damage(f"a draw is not what its name says: it is of {says}", "Give it back its name, or delete it.")
    if not whole:
        return None
    rows = listing.rows_of([key for _, key in drawn.pictures])
    gone = [key for (_, key), row in zip(drawn.pictures, rows.tolist(), strict=True) if row < 0]
    if gone:
        what = f"{len(gone):,} of {counted(len(rows), 'picture')} of a draw are not among the training pictures: "
        return _Damage(what + ", ".join(few(gone)), "Put them back; or delete the file, and the next run draws again.")
    places = listing.class_of[rows].tolist()
    pairs = zip(drawn.pictures, places, strict=True)
    moved = [key for (class_key, key), place in pairs if place < 0 or listing.classes[place] != class_key]
    if moved:
        what = f"{counted(len(moved), 'picture')} of a draw now under another class: {', '.join(few(moved))}"
        return _Damage(what, "Move them back; or delete the file, and the next run draws again.")
    return None


def _kept(id_sets: ListedID) -> list[Path]:
    """Files with draws that runs on this data set would read."""
    if id_sets.manifest is not None:
        return [Path(id_sets.manifest)]
    if id_sets.manifests_dir is None or not Path(id_sets.manifests_dir).is_dir():
        return []
    files = sorted(Path(id_sets.manifests_dir).iterdir())
    named = [(path, _NAME.fullmatch(path.name)) for path in files]
    return [path for path, name in named if name and name["data"] == id_sets.name]


def _trained(id_sets: ListedID) -> tuple[str, ...]:
    keys = id_sets.classes().keys
    return keys[: num_train_classes(len(keys), id_sets.class_fraction)]


def _path(id_sets: ListedID, keys: tuple[str, ...], seed: int) -> Path | None:
    if id_sets.manifest is not None:
        return Path(id_sets.manifest)
    if id_sets.manifests_dir is None:
        return None
    return Path(id_sets.manifests_dir) / id_sets.manifest_name(keys, seed)
