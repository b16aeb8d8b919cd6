"""Thresholds with a guarantee: split conformal p-values of scores, and the Benjamini-Hochberg rule over a batch.

Convention as everywhere: a higher score means more in-distribution (ID). n is the number of calibration scores.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from negprompt.errors import ConfigError, PromptMismatchError

Floats = npt.NDArray[np.float64]
Kind = Literal["held_out", "cross_validation"]

DEFAULT_ALPHA = 0.05
KINDS: Mapping[str, str] = {
    "held_out": "held-out ID images",
    "cross_validation": "few-shot images, each scored by prompts that were trained without it",
}


class Calibration(NamedTuple):
    """Scores of ID images that no prompt was trained on, and where they came from.

    `scores` (n,) float64, ascending. `kind`: "held_out" images of the final prompts, for which the guarantee is exact,
    or "cross_validation" over the few-shot images, for which it is not. `source`: in words.
    """

    scores: Floats
    kind: Kind
    source: str

    @classmethod
    def of(cls, scores: Sequence[float] | Floats, source: str, kind: Kind = "held_out") -> Calibration:
        """Sort the scores.

        Raises:
            ConfigError: there is none, or one is not a finite number.
        """
        values = np.sort(np.asarray(scores, np.float64))
        if not len(values) or not np.isfinite(values).all():
            what = "no image" if not len(values) else "scores that are not finite"
            msg = f"A calibration on {source} has {what}: it needs at least one ID image with a finite score."
            raise ConfigError(msg)
        return cls(values, kind, source)

    @property
    def n(self) -> int:
        """Number of images it rests on."""
        return len(self.scores)

    @property
    def smallest_alpha(self) -> float:
        """The smallest share of rejected ID images that so many images can promise: 1 / (n + 1)."""
        return 1 / (self.n + 1)

    def to_json(self) -> dict[str, Any]:
        """As JSON values; equal calibrations give equal ones."""
        return {"kind": self.kind, "source": self.source, "n": self.n, "scores": self.scores.tolist()}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Calibration:
        """What `to_json` made.

        Raises:
            PromptMismatchError: it is none.
        """
        try:
            calibration = cls.of(stored["scores"], str(stored["source"]), stored["kind"])
        except (LookupError, TypeError, ValueError, ConfigError) as error:
            msg = f"The stored calibration is damaged ({error}): make the run again, or calibrate anew."
            raise PromptMismatchError(msg) from error
        if calibration.kind not in KINDS:
            msg = f"The stored calibration is of the unknown kind {calibration.kind!r}: it is of a later version."
            raise PromptMismatchError(msg)
        return calibration

    def promise(self, alpha: float) -> str:
        """What a threshold at `alpha` stands for, in one sentence."""
        share = f"{alpha:g} of ID images"
        if self.kind == "held_out":
            return f"at most {share} are rejected, on average over calibrations ({self.n} held-out images)"
        return f"about {share} are rejected, without a guarantee (cross-validation over {self.n} few-shot images)"


def p_values(scores: Sequence[float] | Floats, calibration: Calibration) -> Floats:
    """Split conformal p-values (Vovk et al., 2005; Bates et al., 2023): (1 + #{calibration <= score}) / (n + 1).

    Ties count as "as far out", so that p is never too small: if an ID image and the calibration images are
    exchangeable, P(p <= alpha) <= alpha for every alpha, exactly and for every n; equality where no scores tie and
    alpha (n + 1) is a whole number.

    Args:
        scores: (B,), higher = more in-distribution.
        calibration: n scores.

    Returns:
        (B,) in {1 / (n + 1), ..., 1}.

    Example:
        >>> p_values([0.1, 0.2, 0.9], Calibration.of([0.2, 0.4, 0.6, 0.8], "example")).tolist()
        [0.2, 0.4, 1.0]
    """
    at_most = np.searchsorted(calibration.scores, np.asarray(scores, np.float64), side="right")
    return np.asarray((1 + at_most) / (calibration.n + 1), np.float64)


def threshold(calibration: Calibration, alpha: float) -> float:
    """The score below which an image is rejected: the k-th smallest of n, k = floor(alpha (n + 1)).

    The same decision as `p_values(...) <= alpha`; n - k + 1 of the calibration images reach it, at least 1 - alpha of
    them.

    Raises:
        ConfigError: alpha is out of range, or too small for n.

    Example:
        >>> threshold(Calibration.of([0.2, 0.4, 0.6, 0.8], "example"), 0.4)
        0.4
    """
    check_alpha(alpha, calibration)
    return float(calibration.scores[rejecting_rank(alpha, calibration.n) - 1])


def rejecting_rank(alpha: float, n: int) -> int:
    """Largest k with k / (n + 1) <= alpha, compared as p-values are: the rounding of a product is no part of it."""
    k = math.floor(alpha * (n + 1)) + 1
    while k / (n + 1) > alpha:
        k -= 1
    return k


def images_needed(alpha: float) -> int:
    """Smallest n whose 1 / (n + 1) is not above alpha.

    Example:
        >>> images_needed(0.05), images_needed(0.01), images_needed(0.3)
        (19, 99, 3)
    """
    n = max(1, math.ceil(1 / alpha) - 2)
    while rejecting_rank(alpha, n) < 1:
        n += 1
    return n


def check_share(value: float, name: str) -> None:
    """Refuse what is no share strictly between 0 and 1.

    Raises:
        ConfigError: names the setting.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1:
        msg = f"{name}={value} is not allowed: it is a share between 0 and 1, for example {name}=0.05."
        raise ConfigError(msg)


def check_alpha(alpha: float, calibration: Calibration, name: str = "ood_alpha") -> None:
    """Refuse a share of rejected ID images that cannot be promised.

    Raises:
        ConfigError: out of (0, 1), or below 1 / (n + 1); says how many images are needed.
    """
    check_share(alpha, name)
    if rejecting_rank(alpha, calibration.n) < 1:
        msg = (
            f"{name}={alpha} cannot be promised with {calibration.n} calibration images ({calibration.source}): the "
            f"smallest is 1/(n+1) = {calibration.smallest_alpha:.4g}. Calibrate on at least {images_needed(alpha)} "
            f"images, or raise {name}."
        )
        raise ConfigError(msg)


def default_alpha(calibration: Calibration) -> float:
    """0.05, or the smallest share that can be promised where that is larger."""
    return max(DEFAULT_ALPHA, calibration.smallest_alpha)


def benjamini_hochberg(p: Sequence[float] | Floats, rate: float) -> npt.NDArray[np.bool_]:
    """Which of N images to call out-of-distribution so that at most a share `rate` of those calls is expected wrong.

    The step-up rule (Benjamini and Hochberg, 1995); valid for conformal p-values that share one calibration set, which
    are positively dependent (Bates et al., 2023, theorem 2).

    Args:
        p: (N,) conformal p-values.
        rate: false discovery rate in (0, 1).

    Raises:
        ConfigError: a rate out of range.

    Example:
        >>> benjamini_hochberg([0.01, 0.9, 0.04, 0.03], 0.05).tolist()
        [True, False, False, False]
        >>> benjamini_hochberg([0.01, 0.9, 0.037, 0.03], 0.05).tolist()
        [True, False, True, True]
    """
    values = np.asarray(p, np.float64)
    distinct, counts = np.unique(values, return_counts=True)
    return values <= discovery_cut(distinct, counts, rate)


def discovery_cut(distinct: Floats, counts: npt.NDArray[np.int64], rate: float) -> float:
    """Largest p-value that Benjamini-Hochberg rejects, 0 where it rejects none; of counted values, without a list.

    Args:
        distinct: (V,) p-values, ascending.
        counts: (V,) how often each occurs.
        rate: false discovery rate in (0, 1).

    Raises:
        ConfigError: a rate out of range.
    """
    check_share(rate, "false_discovery_rate")
    up_to = np.cumsum(counts)
    passes = distinct * (up_to[-1] if len(up_to) else 0) <= rate * up_to
    return float(distinct[passes][-1]) if passes.any() else 0.0
