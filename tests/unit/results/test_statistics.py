import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import false_discovery_control, nct, t

from gpt_math_domains.results.statistics import (
    Interval,
    crossings,
    difference,
    false_discovery,
    first_step,
    seeds_needed,
)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_p_values_are_adjusted_as_scipy_adjusts_them(values: list[float]) -> None:
    assert false_discovery(values) == pytest.approx(false_discovery_control(values).tolist())


def test_no_p_values_need_no_adjustment() -> None:
    assert false_discovery([]) == []


def test_the_seeds_that_are_needed_find_the_difference_four_times_in_five() -> None:
    """The power of the paired t-test, by the noncentral t distribution, at n and at n - 1."""
    differences = pd.Series([0.02, 0.00, 0.03, -0.01])
    gap = difference(differences, pd.Series([0.0] * 4))
    needed = seeds_needed(gap, 4)
    assert needed is not None

    def power(number: int) -> float:
        shift = gap.mean / differences.std() * number**0.5
        return float(1 - nct.cdf(t.ppf(0.975, number - 1), number - 1, shift))

    assert power(needed) == pytest.approx(0.8, abs=0.03)
    assert power(needed - 1) < power(needed)


def test_where_nothing_differs_or_one_seed_stands_alone_no_number_of_seeds_is_named() -> None:
    assert seeds_needed(Interval(0.0, -1.0, 1.0), 3) is None
    assert seeds_needed(Interval(0.1, float("nan"), float("nan")), 1) is None
    assert seeds_needed(Interval(0.001, -1.0, 1.002), 2) is None  # more than are worth naming


def test_an_accuracy_is_reached_between_two_evaluations() -> None:
    curves = pd.DataFrame({0: [0.1, 0.6, 0.9], 1: [0.5, 0.4, 0.9], 2: [0.1, 0.2, 0.3]}, [1, 3, 9])
    found = crossings(curves, 0.5)
    assert found["after"].tolist() == [1, 0, 9]
    assert found["by"].tolist()[:2] == [3, 1]
    assert found["at"].tolist()[:2] == [2, 0.5]
    assert found["variance"].tolist()[:2] == pytest.approx([4 / 12, 1 / 12])
    assert found.loc[2, ["by", "at", "variance"]].isna().all()


def test_the_first_step_of_one_seed_has_the_two_evaluations_as_limits() -> None:
    curves = pd.DataFrame({0: [0.1, 0.6, 0.9]}, [1, 3, 9])
    found = first_step(crossings(curves, 0.5))
    assert (found.mean, found.low, found.high) == (2, 1, 3)
    missing = first_step(crossings(curves, 0.95))
    assert all(value != value for value in (missing.mean, missing.low, missing.high))
