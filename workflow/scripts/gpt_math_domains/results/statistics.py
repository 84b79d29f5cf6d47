"""What seeds say together: means, differences and first steps with some accuracy, with intervals.

Intervals are Student's t, two-sided. `scipy.stats` has the same, and takes a second to import, for
which each job that draws or sums up would wait; tests hold these against it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import nan

import numpy as np
import pandas as pd
from scipy.special import stdtr, stdtrit

LEVEL = 0.95
THRESHOLDS = (0.5, 0.9, 0.99)  # accuracies of which tables tell the first step
NOISE = 1e-18  # a variance below this is that of rounding
MOST_SEEDS = 200  # more are not worth naming


@dataclass(frozen=True)
class Interval:
    """A mean over seeds and its 95% interval.

    Attributes:
        mean: NaN where only a bound is known.
        low: lower limit, minus infinity where none is known, NaN where there is no interval.
        high: upper limit, infinity where none is known, NaN where there is no interval.
        p: probability of a mean at least as far from 0 if the true one is 0; NaN without interval.
    """

    mean: float
    low: float
    high: float
    p: float = nan

    def within(self, most: float) -> "Interval":
        """Return this interval with its limits cut off at 0 and the greatest possible value."""
        low, high = np.clip([self.low, self.high], 0, most)
        return replace(self, low=float(low), high=float(high))

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
    return _interval(mean, float(deviation / np.sqrt(len(values))), len(values) - 1)


def difference(
    values: "pd.Series[float]", others: "pd.Series[float]", added_variance: float = 0.0
) -> Interval:
    """Return the mean of `values` minus that of `others`, with its interval.

    With the same seeds, that of the paired differences; else Welch's, whose degrees of freedom are
    those of Welch and Satterthwaite. There is no interval with fewer than two seeds on a side, or
    where nothing varies.

    Args:
        values: one for each seed, by seed.
        others: the same for what is compared.
        added_variance: of each paired difference, beside that over seeds.
    """
    mean = float(values.mean() - others.mean())
    if set(values.index) == set(others.index):
        paired = values - others
        if len(paired) < 2 or float(paired.var(ddof=1)) + added_variance < NOISE:
            return Interval(mean, nan, nan)
        return mean_interval(paired, added_variance)
    groups = [values.to_numpy(), others.to_numpy()]
    if min(map(len, groups)) < 2:
        return Interval(mean, nan, nan)
    parts = np.array([group.var(ddof=1) / len(group) for group in groups])
    if parts.sum() < NOISE:
        return Interval(mean, nan, nan)
    freedom = parts.sum() ** 2 / sum(
        p**2 / (len(g) - 1) for p, g in zip(parts, groups, strict=True)
    )
    return _interval(mean, float(np.sqrt(parts.sum())), freedom)


def false_discovery(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted for their number; those up to q have a false discovery rate of q.

    The procedure is that of Benjamini and Hochberg (1995, "Controlling the False Discovery Rate"),
    which `scipy.stats.false_discovery_control` has too.
    """
    values = np.asarray(p_values, dtype=float)
    order = np.argsort(values)[::-1]
    ranks = np.arange(len(values), 0, -1)
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(1, np.minimum.accumulate(values[order] * len(values) / ranks))
    return [float(value) for value in adjusted]


def seeds_needed(gap: Interval, seeds: int) -> int | None:
    """Return how many seeds would show a mean difference, if it and the spread stay as seen.

    That is the least n for which a paired t-test at the 5% level finds it four times in five:

        n >= ((t(0.975) + t(0.8)) deviation / mean)^2

    with quantiles of n - 1 degrees of freedom (Cohen 1988, "Statistical Power Analysis for the
    Behavioral Sciences", chapter 2; with t in place of normal quantiles).

    Args:
        gap: the difference over `seeds` seeds, paired.
        seeds: 2 or more.

    Returns:
        None where there is no interval, or `MOST_SEEDS` would not do.
    """
    half = (gap.high - gap.low) / 2
    if not np.isfinite(half) or gap.mean == 0:
        return None
    deviation = half / _quantile(seeds - 1) * np.sqrt(seeds)
    for number in range(2, MOST_SEEDS + 1):
        quantiles = _quantile(number - 1) + float(stdtrit(number - 1, 0.8))
        if number >= (quantiles * deviation / gap.mean) ** 2:
            return number
    return None


def crossings(curves: pd.DataFrame, threshold: float) -> pd.DataFrame:
    """Return by seed when it first has at least some accuracy.

    A seed gets there between two evaluations, and nothing is known of where: the middle is taken,
    and 1/12 of the squared distance, the variance of a uniform place between the two, is how
    uncertain it is.

    Args:
        curves: accuracies, a row for each step and a column for each seed.
        threshold: the accuracy.

    Returns:
        `after` and `by`, the steps of the two evaluations (0 is the start), `at`, their middle,
        and `variance`, by seed. Of a seed that does not get there, `after` is its last step and
        the others are missing.
    """
    there = curves.to_numpy() >= threshold
    first, ever = there.argmax(axis=0), there.any(axis=0)
    steps = np.array([0.0, *curves.index])
    after = np.where(ever, steps[first], steps[-1])
    by = np.where(ever, steps[first + 1], nan)
    return between(pd.Series(after, curves.columns), pd.Series(by, curves.columns))


def between(after: "pd.Series[float]", by: "pd.Series[float]") -> pd.DataFrame:
    """Return what `crossings` does, from the steps of the two evaluations, by seed."""
    after, by = after.astype(float), by.astype(float)
    return pd.DataFrame(
        {"after": after, "by": by, "at": (after + by) / 2, "variance": (by - after) ** 2 / 12}
    )


def first_step(reached: pd.DataFrame) -> Interval:
    """Return the mean first step over seeds with some accuracy, as `crossings` returns them.

    The variance between two evaluations is added to that over seeds; with one seed, the limits are
    the two evaluations. All is NaN where a seed does not get there.
    """
    if len(reached) == 1:
        [(after, by, at)] = reached[["after", "by", "at"]].to_numpy()
        return Interval(at, after if by == by else by, by)
    return mean_interval(reached["at"], float(reached["variance"].mean()))


def _interval(mean: float, error: float, freedom: float) -> Interval:
    """Return a mean's interval, from its standard error and degrees of freedom."""
    half = _quantile(freedom) * error
    p = 2 * float(stdtr(freedom, -abs(mean) / error)) if error > 0 else nan
    return Interval(mean, mean - half, mean + half, p)


def seed_results(curves: pd.DataFrame) -> pd.DataFrame:
    """Return what each seed of a run came to, a row for each.

    Args:
        curves: accuracies, a row for each step and a column for each seed.

    Returns:
        `steps`, the last evaluated step; `final`, the accuracy there; `best` and `best_step`, the
        highest accuracy and the first step that attains it; and for each threshold `after_0.5`,
        `by_0.5` and `step_0.5` and the like, `after`, `by` and `at` of `crossings`.
    """
    results: dict[str, object] = {"steps": curves.index[-1], "final": curves.iloc[-1]}
    results |= {"best": curves.max(), "best_step": curves.idxmax()}
    for limit in THRESHOLDS:
        reached = crossings(curves, limit)
        names = {"after": "after", "by": "by", "step": "at"}
        results |= {f"{name}_{limit}": reached[column] for name, column in names.items()}
    return pd.DataFrame(results, index=curves.columns)


def _quantile(freedom: float) -> float:
    """Return the factor of a two-sided Student t interval."""
    return float(stdtrit(freedom, (1 + LEVEL) / 2))
