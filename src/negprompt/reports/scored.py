"""One score of a finished run, picture by picture."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from negprompt.errors import RunError, nearest

_Floats = npt.NDArray[np.float64]


class Scored(NamedTuple):
    """Scores and keys of the pictures of `scores.npz`: of the ID set, and by name of the OOD set."""

    score: str
    id: _Floats
    id_keys: Sequence[str]
    ood: Mapping[str, _Floats]
    ood_keys: Mapping[str, Sequence[str]]


def read_scores(run: Path, score: str) -> Scored:
    """Read one score of a run; covariate-shifted sets are left out.

    Args:
        run: its folder.
        score: its name.

    Raises:
        RunError: scores.npz is missing or damaged, or has no such score.
    """
    path = run / "scores.npz"
    try:
        with np.load(path) as arrays:
            scores = [name.removeprefix("id/") for name in arrays.files if name.startswith("id/")]
            known = [name for name in scores if name not in ("key", "label", "prediction")]
            if score not in known:
                msg = f"{path} has no score '{score}'; {nearest(score, known)}."
                raise RunError(msg)
            sets = [name.split("/")[1] for name in arrays.files if name.startswith("ood/") and name.endswith("/key")]
            return Scored(
                score,
                arrays[f"id/{score}"],
                arrays["id/key"].tolist(),
                {name: arrays[f"ood/{name}/{score}"] for name in sets},
                {name: arrays[f"ood/{name}/key"].tolist() for name in sets},
            )
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        msg = f"{path} cannot be read ({type(error).__name__}: {error}): make the run again."
        raise RunError(msg) from error
