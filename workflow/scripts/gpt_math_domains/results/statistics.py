"""What seeds say together: means and differences with intervals, and first steps at a threshold.

Intervals are Student's t, two-sided. `scipy.stats` has the same, and takes a second to import, for
which each job that draws or sums up would wait; tests hold these against it.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import stdtrit

LEVEL = 0.95
THRESHOLDS = (0.5, 0.9, 0.99)  # accuracies of which tables tell the first step
NOISE = 1e-18  # a variance below this is that of rounding


@dataclass(frozen=True)
class Interval:
    """A mean over seeds and its 95% interval.

    Attributes:
        mean: NaN where only a bound is known.
        low: lower limit, minus infinity where none is known.
        high: upper limit, infinity where none is known.
    """

    mean: float
    low: float
    high: float

    @property
    def sign(self) -> int:
        """Return 1 or -1 where the interval leaves out 0, else 0."""
        return int(self.low > 0) - int(self.high < 0)


def mean_interval(values: "pd.Series[float]", added_variance: float = 0.0) -> Interval:
    """Return the mean of one value for each seed, with n - 1 degrees of freedom.

    All is NaN where a value is missing, and the limits are with one seed.

    Args:
        values: of each seed.
        added_variance: of each value, beside that over seeds.
    """
    mean = float(values.mean(skipna=False))
    deviation = np.hypot(values.std(skipna=False), np.sqrt(added_variance))
    half = _quantile(len(values) - 1) * float(deviation / np.sqrt(len(values)))
    return Interval(mean, mean - half, mean + half)


def paired_difference(
    differences: "pd.Series[float]", added_variance: float = 0.0
) -> Interval | None:
    """Return the mean of paired differences; None where it has no interval.

    That is with fewer than two seeds, or differences that do not vary.
    """
    if len(differences) < 2 or float(differences.var(ddof=1)) + added_variance < NOISE:
        return None
    return mean_interval(differences, added_variance)


def difference(values: "pd.Series[float]", others: "pd.Series[float]") -> Interval | None:
    """Return the mean of `values` minus that of `others`, with its interval.

    With the same seeds, that of the paired differences; else Welch's, whose degrees of freedom are
    those of Welch and Satterthwaite.

    Args:
        values: one for each seed, by seed.
        others: the same for what is compared.

    Returns:
        None where there is no interval: fewer than two seeds, or values that do not vary.
    """
    if set(values.index) == set(others.index):
        return paired_difference(values - others)
    groups = [values.to_numpy(), others.to_numpy()]
    if min(map(len, groups)) < 2:
        return None
    parts = np.array([group.var(ddof=1) / len(group) for group in groups])
    if parts.sum() < NOISE:
        return None
    freedom = parts.sum() ** 2 / sum(
        p**2 / (len(g) - 1) for p, g in zip(parts, groups, strict=True)
    )
    mean = float(groups[0].mean() - groups[1].mean())
    half = _quantile(freedom) * float(np.sqrt(parts.sum()))
    return Interval(mean, mean - half, mean + half)


def first_steps(curves: pd.DataFrame, threshold: float) -> "pd.Series[float]":
    """Return by seed the first evaluated step with at least some accuracy, NaN where there is none.

    Args:
        curves: accuracies, a row for each step and a column for each seed.
        threshold: the accuracy.
    """
    there = curves >= threshold
    steps: pd.Series[float] = there.idxmax().where(there.any()).astype(float)
    return steps


def seed_results(curves: pd.DataFrame) -> pd.DataFrame:
    """Return what each seed of a run came to, a row for each.

    Args:
        curves: accuracies, a row for each step and a column for each seed.

    Returns:
        `steps`, the last evaluated step; `final`, the accuracy there; `best` and `best_step`, the
        highest accuracy and the first step that attains it; and for each threshold `step_0.5` and
        the like, see `first_steps`.
    """
    reached = {f"step_{limit}": first_steps(curves, limit) for limit in THRESHOLDS}
    final, best, best_step = curves.iloc[-1], curves.max(), curves.idxmax()
    results = {"steps": curves.index[-1], "final": final, "best": best, "best_step": best_step}
    return pd.DataFrame(results | reached, index=curves.columns)


def _quantile(freedom: float) -> float:
    """Return the factor of a two-sided Student t interval."""
    return float(stdtrit(freedom, (1 + LEVEL) / 2))
