"""What the metrics of finished runs support, in sentences with 95% intervals over seeds.

A finding is stated only where its interval leaves out 0. Runs with the same seeds are compared seed
by seed (paired Student t with n - 1 degrees of freedom); other runs by Welch's t. With one seed
there is no interval, so nothing is found.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import inf, isfinite, nan
from typing import Any

import numpy as np
import pandas as pd

from gpt_math_domains.results.metrics import accuracy_curves
from gpt_math_domains.results.statistics import (
    Interval,
    difference,
    first_steps,
    paired_difference,
)
from gpt_math_domains.run import PROTOCOLS, Protocol

THRESHOLDS = (0.9, 0.99)  # of domain_acc
# What is compared: protocols that train the same and start differently, and that in words.
_WORDS = {
    False: ("finetuning everything from the pretrained checkpoint", "from random weights"),
    True: ("training the head alone on a pretrained backbone", "on a random one"),
}
_NAMES = {protocol: name for name, protocol in PROTOCOLS.items()}
COMPARISONS = [
    (_NAMES[Protocol(True, head_only)], _NAMES[Protocol(False, head_only)], *words)
    for head_only, words in _WORDS.items()
]


def saved_steps(curves: pd.DataFrame, others: pd.DataFrame, threshold: float) -> Interval | None:
    """Return how many steps earlier runs reach an accuracy than others do, paired by seed.

    A seed gets there between two evaluations: the middle is taken, and the variance of a uniform
    place between the two is added to that over seeds. If a seed does not get there, its last step
    is a bound, and only one limit of the difference is known.

    Args:
        curves: accuracies, a row for each step and a column for each seed.
        others: the same, with the same seeds.
        threshold: the accuracy.

    Returns:
        None where nothing can be said: fewer than two seeds, other seeds, or seeds on both sides
        that do not get there.
    """
    if set(curves) != set(others):
        return None
    (at, width, there), (others_at, others_width, others_there) = (
        _crossing(side, threshold) for side in (curves, others)
    )
    if not there.all() and not others_there.all():
        return None
    found = paired_difference(others_at - at, float((width**2 + others_width**2).mean() / 12))
    if found is None or (there.all() and others_there.all()):
        return found
    if there.all():
        return Interval(nan, found.low, inf)
    return Interval(nan, -inf, found.high)


def pretraining_findings(pretrain: pd.DataFrame) -> list[str]:
    """Return which model ends highest on each data version, where the seeds tell.

    Args:
        pretrain: metrics of finished runs, as `metrics.read_metrics` returns them.
    """
    found = []
    for data, runs in _split(pretrain, "data"):
        finals = {model: accuracy_curves(run).iloc[-1] for model, run in _split(runs, "model")}
        best, _ = max(finals.items(), key=lambda item: item[1].mean())
        lower = [
            f"{in_accuracy(gap)} above model {model}"
            for model in finals
            if model != best
            and (gap := difference(finals[best], finals[model])) is not None
            and gap.sign > 0
        ]
        if lower:
            found.append(
                f"On data {data}, model {best} ends at the highest math_acc, "
                f"{finals[best].mean():.3f}: {_listed(lower)}."
            )
    return found


def protocol_findings(finetune: pd.DataFrame) -> list[str]:
    """Return what a pretrained start changes, on each domain and data version.

    Args:
        finetune: metrics of finished runs, as `metrics.read_metrics` returns them.
    """
    found: list[str] = []
    for pretrained, random, doing, start in COMPARISONS:
        pairs = list(_pairs(finetune, pretrained, random))
        for place in dict.fromkeys(pair.place for pair in pairs):
            here = [pair for pair in pairs if pair.place == place]
            what = f"{place}, {doing} ({pretrained})"
            for threshold in THRESHOLDS:
                steps = [(pair, pair.saved(threshold)) for pair in here]
                for sign, word in ((1, "earlier"), (-1, "later")):
                    parts = [
                        f"model {pair.model} by {in_steps(gap)} steps{pair.missing(threshold)}"
                        for pair, gap in steps
                        if gap is not None and gap.sign == sign
                    ]
                    if parts:
                        found.append(
                            f"{what} reaches a domain_acc of {threshold} {word} than {start} "
                            f"({random}): {_listed(parts)}."
                        )
            ends = [(pair, pair.final()) for pair in here]
            for sign, word in ((1, "higher"), (-1, "lower")):
                parts = [
                    f"model {pair.model} by {in_accuracy(gap)}"
                    for pair, gap in ends
                    if gap is not None and gap.sign == sign
                ]
                if parts:
                    found.append(
                        f"{what} ends at a {word} domain_acc than {start} ({random}): "
                        f"{_listed(parts)}."
                    )
    return found


def verdict(finetune: pd.DataFrame, threshold: float = THRESHOLDS[0]) -> str | None:
    """Answer in one sentence whether pretraining saves steps; None where nothing was compared.

    Args:
        finetune: metrics of finished runs, as `metrics.read_metrics` returns them.
        threshold: the domain_acc to reach.
    """
    pretrained, random, *_ = COMPARISONS[0]
    gaps = [pair.saved(threshold) for pair in _pairs(finetune, pretrained, random)]
    known = [gap.sign for gap in gaps if gap is not None]
    if not known:
        return None
    counts = f"earlier in {known.count(1)}, later in {known.count(-1)}"
    rest = len(gaps) - known.count(1) - known.count(-1)
    return (
        f"Of {len(gaps)} {'comparison' if len(gaps) == 1 else 'comparisons'} of a pretrained with "
        f"a random start, all weights trained, the pretrained one reaches a domain_acc of "
        f"{threshold} {counts}, and in {rest} the seeds do not tell."
    )


def comparison_rows(finetune: pd.DataFrame) -> list[dict[str, Any]]:
    """Return what is compared as rows of a table, also where the seeds do not tell.

    Columns: `domain`, `data`, `model`, `pretrained`, `random` (the two protocols), for each
    threshold `steps saved to {threshold}`, and `final difference`. Steps saved and differences are
    positive where the pretrained start is ahead; empty where there is no interval.

    Args:
        finetune: metrics of finished runs, as `metrics.read_metrics` returns them.
    """
    rows = []
    for pretrained, random, *_ in COMPARISONS:
        for pair in _pairs(finetune, pretrained, random):
            row: dict[str, Any] = {"domain": pair.domain, "data": pair.data, "model": pair.model}
            row |= {"pretrained": pretrained, "random": random}
            for threshold in THRESHOLDS:
                row[f"steps saved to {threshold}"] = _signed(pair.saved(threshold), ",.0f")
            row["final difference"] = _signed(pair.final(), ".3f")
            rows.append(row)
    return rows


@dataclass(frozen=True)
class _Pair:
    """Two runs that differ in how finetuning starts; accuracies by step and seed."""

    domain: int
    data: int
    model: int
    curves: pd.DataFrame
    others: pd.DataFrame
    others_name: str
    place: str

    def saved(self, threshold: float) -> Interval | None:
        return saved_steps(self.curves, self.others, threshold)

    def final(self) -> Interval | None:
        """Return the difference of the last accuracies, None if they are of other steps."""
        if self.curves.index[-1] != self.others.index[-1]:
            return None
        return difference(self.curves.iloc[-1], self.others.iloc[-1])

    def missing(self, threshold: float) -> str:
        """Return in parentheses how many seeds of which side do not get there."""
        for name, side in ((self.others_name, self.others), ("it", self.curves)):
            there = int((side >= threshold).any().sum())
            if there < side.shape[1]:
                within = f"{side.index[-1]:,} steps"
                return f" ({name} gets there in {there} of {side.shape[1]} seeds within {within})"
        return ""


def _pairs(finetune: pd.DataFrame, pretrained: str, random: str) -> Iterator[_Pair]:
    """Yield the pairs of runs with these protocols and the same versions."""
    several = finetune["domain"].nunique() > 1
    for domain, on_domain in _split(finetune, "domain"):
        for data, on_data in _split(on_domain, "data"):
            for model, runs in _split(on_data, "model"):
                found = {
                    protocol: accuracy_curves(run) for protocol, run in runs.groupby("protocol")
                }
                if {pretrained, random} <= set(found):
                    place = f"On domain {domain}, data {data}" if several else f"On data {data}"
                    sides = found[pretrained], found[random]
                    yield _Pair(domain, data, model, *sides, random, place)


def _split(frame: pd.DataFrame, column: str) -> Iterator[tuple[int, pd.DataFrame]]:
    """Yield the versions in a column, ascending, each with its rows."""
    for version in sorted(frame[column].unique().tolist()):
        yield version, frame[frame[column] == version]


def _crossing(
    curves: pd.DataFrame, threshold: float
) -> tuple["pd.Series[float]", "pd.Series[float]", "pd.Series[bool]"]:
    """Return by seed about when it first has an accuracy, how well that is known, and if it does.

    That is the middle between two evaluations and their distance; the last step and 0 for a seed
    that never has it.
    """
    first = first_steps(curves, threshold)
    steps = curves.index.to_numpy(dtype=float)
    before = pd.Series(np.concatenate([[0.0], steps[:-1]]), curves.index).reindex(first).to_numpy()
    there = first.notna()
    at = ((first + before) / 2).where(there, steps[-1])
    return at, (first - before).where(there, 0.0), there


def in_steps(gap: Interval) -> str:
    """Return a difference as a number of steps with the interval, or the bound, for a sentence."""
    if isfinite(gap.mean):
        return _unsigned(gap, ",.0f")
    return f"at least {gap.low if gap.low > 0 else -gap.high:,.0f}"


def in_accuracy(gap: Interval) -> str:
    """Return a difference as an accuracy with the interval, for a sentence."""
    smallest = min(abs(gap.low), abs(gap.high))
    return _unsigned(gap, ".3f" if smallest >= 0.0005 else ".5f")


def _unsigned(gap: Interval, digits: str) -> str:
    mean, low, high = gap.mean, gap.low, gap.high
    if gap.sign < 0:
        mean, low, high = -mean, -high, -low
    return f"{mean:{digits}} [{low:{digits}}, {high:{digits}}]"


def _signed(gap: Interval | None, digits: str) -> str:
    """Return a difference and its interval for a table."""
    if gap is None:
        return ""
    if isfinite(gap.mean):
        return f"{gap.mean:{digits}} [{gap.low:{digits}}, {gap.high:{digits}}]"
    return f"≥ {gap.low:{digits}}" if isfinite(gap.low) else f"≤ {gap.high:{digits}}"


def _listed(parts: Sequence[str]) -> str:
    """Return parts of a sentence with commas and an `and`."""
    *most, last = parts
    return f"{', '.join(most)} and {last}" if most else last
