"""The few-shot draw: a function of (seed, class) and of nothing else."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

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
        class_names: names in label order.

    Returns:
        Positions in `keys`, class by class.

    Raises:
        DataError: a class has fewer than k pictures.
    """
    by_label: dict[int, list[int]] = defaultdict(list)
    for position in sorted(range(len(keys)), key=lambda place: keys[place]):
        by_label[labels[position]].append(position)
    short = {name: len(by_label[label]) for label, name in enumerate(class_names) if len(by_label[label]) < k}
    if short:
        worst = ", ".join(f"{name} ({count})" for name, count in list(short.items())[:5])
        fewest = min(short.values())
        lower = f"Set data.num_shots to {fewest} or less, or " if fewest else "A class needs pictures: "
        msg = (
            f"data.num_shots={k}, but {len(short)} of {len(class_names)} classes have fewer pictures: {worst}. "
            f"{lower}leave these classes out (data.class_names)."
        )
        raise DataError(msg)
    drawn: list[int] = []
    for label, name in enumerate(class_names):
        pool = by_label[label]
        chosen = _generator(seed, name).choice(len(pool), size=k, replace=False)
        drawn.extend(pool[place] for place in sorted(chosen))
    return drawn


def _generator(seed: int, class_name: str) -> np.random.Generator:
    digest = hashlib.sha256(f"few-shot/{seed}/{class_name}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "big"))
