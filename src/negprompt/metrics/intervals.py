"""How sure a mean is: 95 % intervals over pictures, and over seeds."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import stats

from negprompt.errors import DataError

_TAIL = 0.025
_MANY = 5_000
_NORMAL = 1.959963984540054


class Interval(NamedTuple):
    """A mean and the ends of its 95 % interval."""

    mean: float
    low: float
    high: float


def over_images(values: npt.NDArray[np.float64], *, seed: int = 0, resamples: int = 1000) -> Interval:
    """Percentile bootstrap of the mean over pictures (Efron, 1979).

    Args:
        values: one a picture (N,).
        seed: of the resampling.
        resamples: number of bootstrap samples.

    Returns:
        For more than 5,000 pictures the limit of the bootstrap, mean +- 1.96 standard errors, without resampling.

    Raises:
        DataError: there are no values.

    Example:
        >>> over_images(np.array([0.5, 0.5, 0.5]))
        Interval(mean=0.5, low=0.5, high=0.5)
    """
    if len(values) == 0:
        msg = "An interval needs the value of at least one picture."
        raise DataError(msg)
    mean = float(values.mean())
    if len(values) > _MANY:
        half = _NORMAL * float(values.std()) / math.sqrt(len(values))
        return Interval(mean, mean - half, mean + half)
    generator = np.random.default_rng(seed)
    size = len(values)
    means = [float(values[generator.integers(0, size, size)].mean()) for _ in range(resamples)]
    low, high = np.quantile(means, [_TAIL, 1 - _TAIL])
    return Interval(mean, min(float(low), mean), max(float(high), mean))


def over_seeds(values: npt.NDArray[np.float64]) -> Interval:
    """Student's interval of the mean over seeds: few values, which a bootstrap would think too sure.

    Args:
        values: one a seed (S,), S > 1.

    Raises:
        DataError: there are fewer than two seeds.

    Example:
        >>> round(over_seeds(np.array([1.0, 2.0, 3.0])).high, 4)  # 2 + 4.3027 / sqrt(3)
        4.4841
    """
    if len(values) < 2:
        msg = f"An interval over seeds needs two of them, and there is {len(values)}: take one over pictures."
        raise DataError(msg)
    mean, error = float(values.mean()), float(values.std(ddof=1)) / math.sqrt(len(values))
    half = float(stats.t.ppf(1 - _TAIL, len(values) - 1)) * error
    return Interval(mean, mean - half, mean + half)
