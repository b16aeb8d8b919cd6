"""The few-shot draw: a function of (seed, class) and of nothing else."""

from __future__ import annotations

import hashlib
import itertools
from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np

from negprompt.data.contents import Rows
from negprompt.errors import DataError


def k_shot_indices(
    keys: Sequence[str], labels: Sequence[int], k: int, seed: int, class_names: Sequence[str]
) -> list[int]:
    """Draw k pictures a class without replacement.

    The draw of a class depends on the seed, the class name and the sorted picture names alone: not on the order of
    the list, on the file system, or on which other classes take part.

    Args:
        keys: unique picture names.
        labels: label of each picture, an index into `class_names`.
        k: pictures a class.
        seed: of the run.
        class_names: names in label order, each of them once.

    Returns:
        Positions in `keys`, class by class.

    Raises:
        DataError: a class has fewer than k pictures.
    """
    by_label: dict[int, list[int]] = defaultdict(list)
    for position, label in enumerate(labels):
        by_label[label].append(position)
    return draw(keys, [(name, by_label[label]) for label, name in enumerate(class_names)], k, seed)


def draw(
    keys: Sequence[str], pools: Iterable[tuple[str, Rows]], k: int, seed: int, leave_out: str = "data.class_names"
) -> list[int]:
    """`k_shot_indices` with the pictures of each class at hand.

    Args:
        keys: unique picture names.
        pools: class key and positions in `keys`, for each class.
        k: pictures a class.
        seed: of the run.
        leave_out: setting that leaves classes out, for the message.
    """
    short: dict[str, int] = {}
    drawn: list[int] = []
    classes = 0
    for name, positions in pools:
        classes += 1
        if len(positions) < k:
            short[name] = len(positions)
            continue
        pool = _sorted(keys, positions)
        chosen = _generator(seed, name).choice(len(pool), size=k, replace=False)
        drawn.extend(int(pool[place]) for place in sorted(chosen))
    if short:
        raise DataError(_too_few(short, classes, k, leave_out))
    return drawn


def _sorted(keys: Sequence[str], positions: Rows) -> Rows:
    """Positions in the order of their names; a listing of a folder has them in that order already."""
    first, last = int(positions[0]), int(positions[-1])
    together = last - first == len(positions) - 1
    names = keys[first : last + 1] if together else [keys[int(place)] for place in positions]
    if all(one < other for one, other in itertools.pairwise(names)):
        return positions
    return [positions[place] for place in sorted(range(len(names)), key=names.__getitem__)]


def _too_few(short: dict[str, int], classes: int, k: int, leave_out: str) -> str:
    worst = ", ".join(f"{name} ({count})" for name, count in list(short.items())[:5])
    fewest = min(short.values())
    lower = f"Set data.num_shots to {fewest} or less, or " if fewest else "A class needs pictures: "
    return (
        f"data.num_shots={k}, but {len(short)} of {classes} classes have fewer pictures: {worst}. "
        f"{lower}leave these classes out ({leave_out})."
    )


def _generator(seed: int, class_name: str) -> np.random.Generator:
    digest = hashlib.sha256(f"few-shot/{seed}/{class_name}".encode("utf-8", "surrogateescape")).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "big"))
