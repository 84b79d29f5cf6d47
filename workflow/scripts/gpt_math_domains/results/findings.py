"""What the metrics of finished runs say, in sentences.

A finding is stated only where its 95% interval over seeds leaves out 0, and where it is among those
whose false discovery rate, over all comparisons of the study, is at most 5% (Benjamini and
Hochberg). Runs with the same seeds are compared seed by seed (paired Student t with n - 1 degrees
of freedom); other runs by Welch's t. With one seed there is no interval, so there are no findings;
the verdict then tells what was observed. Where a study has one kind of start, its verdict holds
runs against the baseline instead, with their own false discovery rate.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf, isfinite, isnan, nan
from typing import Any

import numpy as np
import pandas as pd

from gpt_math_domains.results.metrics import accuracy_curves
from gpt_math_domains.results.statistics import (
    LEVEL,
    MOST_SEEDS,
    Interval,
    crossings,
    difference,
    false_discovery,
    mean_interval,
    seeds_needed,
)
from gpt_math_domains.run import PROTOCOLS, Protocol

THRESHOLDS = (0.9, 0.99)  # of domain_acc
# What is compared: protocols that train the same and start differently, and that in words.
_WORDS = {
    False: ("finetuning everything from the pretrained checkpoint", "from random weights"),
    True: ("training the head alone on a pretrained backbone", "on a random one"),
}
# The same for the verdict: what is trained, and where it starts, pretrained and random.
_STARTS = {
    False: ("finetuning all weights", "from a pretrained start", "from random weights"),
    True: ("training the head alone", "on a pretrained backbone", "on a random backbone"),
}
_NAMES = {protocol: name for name, protocol in PROTOCOLS.items()}
COMPARISONS = [
    (_NAMES[Protocol(True, head_only)], _NAMES[Protocol(False, head_only)], *words)
    for head_only, words in _WORDS.items()
]
_BASELINE = {
    "math_acc": "always giving the most frequent answer of an operation and modulus gets",
    "domain_acc": "always telling a label as most training equations have it gets",
}
_PLACES = (("above", 1), ("at", 0), ("below", -1))  # beside the baseline
_SECOND_SEED = "a second seed would tell how far seeds differ, and so how many it takes"
FINAL = "final"
Key = tuple[Any, ...]


@dataclass(frozen=True)
class Findings:
    """What a study's metrics say.

    Attributes:
        verdict: the answer to the study's question in a few sentences, from all that was seen.
        pretraining: which models end highest, where the seeds tell.
        overfitting: training beside validation, and how the validation loss goes on.
        protocols: what a pretrained start changes, where the seeds tell.
        comparisons: the differences between starts as rows of a table, also where the seeds do not
            tell. Columns: `domain`, `data`, `model`, `pretrained`, `random` (the two protocols),
            for each threshold `steps saved to {threshold}`, and `final difference`; positive where
            the pretrained start is ahead, empty where nothing can be said.
        compared: how many differences have an interval.
    """

    verdict: list[str]
    pretraining: list[str]
    overfitting: list[str]
    protocols: list[str]
    comparisons: list[dict[str, Any]]
    compared: int


def find(pretrain: pd.DataFrame, finetune: pd.DataFrame, summary: pd.DataFrame) -> Findings:
    """Return what the metrics of finished runs say.

    Args:
        pretrain: metrics of pretraining runs, as `metrics.read_metrics` returns them.
        finetune: metrics of finetuning runs.
        summary: of both, as `summary.summarize` returns it.
    """
    pairs = [
        pair
        for pretrained, random, *_ in COMPARISONS
        for pair in _pairs(finetune, pretrained, random)
    ]
    gaps = _gaps_of_models(pretrain) | {
        pair.key(measure): gap
        for pair in pairs
        for measure in (*THRESHOLDS, FINAL)
        if (gap := pair.gap(measure)) is not None
    }
    sure = _sure(gaps)
    return Findings(
        verdict=list(_verdict(pretrain, finetune, summary, pairs, gaps, sure)),
        pretraining=list(_pretraining_findings(pretrain, gaps, sure)),
        overfitting=list(_overfitting(pretrain)),
        protocols=list(_protocol_findings(pairs, gaps, sure)),
        comparisons=[_comparison_row(pair, gaps) for pair in pairs],
        compared=sum(not isnan(gap.p) for gap in gaps.values()),
    )


def saved_steps(curves: pd.DataFrame, others: pd.DataFrame, threshold: float) -> Interval | None:
    """Return how many steps earlier runs reach an accuracy than others do, paired by seed.

    When a seed gets there is known as `statistics.crossings` tells. If a seed does not get there,
    its last step is a bound, and only one limit of the difference is known.

    Args:
        curves: accuracies, a row for each step and a column for each seed.
        others: the same, with the same seeds.
        threshold: the accuracy.

    Returns:
        None where nothing can be said: other seeds, or seeds on both sides that do not get there.
    """
    if set(curves) != set(others):
        return None
    own, other = crossings(curves, threshold), crossings(others, threshold)
    there, other_there = (bool(side["by"].notna().all()) for side in (own, other))
    if not there and not other_there:
        return None
    at, other_at = (side["at"].fillna(side["after"]) for side in (own, other))
    variance = float((own["variance"].fillna(0) + other["variance"].fillna(0)).mean())
    found = difference(other_at, at, variance)
    if there and other_there:
        return found
    low, high = (found.mean if isnan(end) else end for end in (found.low, found.high))
    if there:
        return Interval(nan, low, inf, found.p if found.mean > 0 else 1.0)
    return Interval(nan, -inf, high, found.p if found.mean < 0 else 1.0)


@dataclass(frozen=True)
class _Pair:
    """Two runs that differ in how finetuning starts; accuracies by step and seed."""

    domain: int
    data: int
    model: int
    pretrained: str
    random: str
    curves: pd.DataFrame
    others: pd.DataFrame
    place: str

    def key(self, measure: float | str) -> Key:
        """Return the key of a threshold's or the final difference."""
        return (self.pretrained, self.domain, self.data, self.model, measure)

    def gap(self, measure: float | str) -> Interval | None:
        """Return the steps saved to a threshold, or the difference of the last accuracies.

        None where nothing can be said, such as of last accuracies after other numbers of steps.
        """
        if isinstance(measure, float):
            return saved_steps(self.curves, self.others, measure)
        if self.curves.index[-1] != self.others.index[-1]:
            return None
        return difference(self.curves.iloc[-1], self.others.iloc[-1])

    def missing(self, threshold: float) -> str:
        """Return in parentheses how many seeds of which side do not get there."""
        for name, side in ((self.random, self.others), ("it", self.curves)):
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
                    yield _Pair(domain, data, model, pretrained, random, *sides, place)


def _gaps_of_models(pretrain: pd.DataFrame) -> dict[Key, Interval]:
    """Return how far each model ends above each other one, by data version and the two models.

    Of each two, the difference is that of the one that ends higher.
    """
    gaps = {}
    for data, runs in _split(pretrain, "data"):
        finals = {model: accuracy_curves(run).iloc[-1] for model, run in _split(runs, "model")}
        order = sorted(finals, key=lambda model: -finals[model].mean())
        for place, higher in enumerate(order):
            for lower in order[place + 1 :]:
                gaps["math_acc", data, higher, lower] = difference(finals[higher], finals[lower])
    return gaps


def _sure(gaps: Mapping[Key, Interval]) -> set[Key]:
    """Return the differences that stand out of all of them; see `false_discovery`."""
    known = {key: gap.p for key, gap in gaps.items() if not isnan(gap.p)}
    adjusted = false_discovery(list(known.values()))
    return {
        key
        for key, p in zip(known, adjusted, strict=True)
        if p <= 1 - LEVEL + 1e-12 and gaps[key].sign
    }


def _verdict(
    pretrain: pd.DataFrame,
    finetune: pd.DataFrame,
    summary: pd.DataFrame,
    pairs: Sequence[_Pair],
    gaps: Mapping[Key, Interval],
    sure: set[Key],
) -> Iterator[str]:
    """Yield the verdict: on the starts where both ran, and else on runs beside the baseline."""
    compared = [
        own
        for pretrained, *_ in COMPARISONS
        if (own := [pair for pair in pairs if pair.pretrained == pretrained])
    ]
    if compared:
        yield from _starts_verdict(compared[0], gaps, sure, summary)
    paired = {name for pair in pairs for name in (pair.pretrained, pair.random)}
    for protocol, runs in finetune.groupby("protocol", sort=False):
        if protocol not in paired:
            rows = summary[summary["protocol"] == protocol]
            yield from _one_start_verdict(runs, rows, _doing(str(protocol)))
    pretrained = summary[summary["phase"] == "pretrain"]
    if not compared:
        yield from _one_start_verdict(pretrain, pretrained, "pretraining")
    elif len(pretrained):
        yield f"Pretraining ends at {_ends(pretrained)}."
    if len(compared) > 1:
        yield from _heads_verdict(pairs, gaps, sure, summary)


def _starts_verdict(
    here: Sequence[_Pair], gaps: Mapping[Key, Interval], sure: set[Key], summary: pd.DataFrame
) -> Iterator[str]:
    """Yield what runs with both starts show: whether pretraining helps, and how sure that is."""
    pretrained, random = here[0].pretrained, here[0].random
    measures = (THRESHOLDS[0], FINAL)
    keys = [pair.key(measure) for pair in here for measure in measures if pair.key(measure) in gaps]
    signs = {gaps[key].sign for key in sure.intersection(keys)}
    seeds = max(pair.curves.shape[1] for pair in here)
    if seeds == 1:
        yield "One seed cannot tell whether pretraining helps; here is what was observed."
    else:
        yield {
            frozenset[int](): "This study does not show that pretraining helps.",
            frozenset({1}): "Pretraining helps here.",
            frozenset({-1}): "Pretraining holds finetuning back here.",
            frozenset({1, -1}): "Pretraining helps in some of these runs and hurts in others.",
        }[frozenset(signs)]
    runs = [summary[summary["protocol"] == protocol] for protocol in (pretrained, random)]
    doing, *starts = _STARTS[PROTOCOLS[pretrained].head_only]
    (verb, first), (other_verb, second) = map(_reaches, runs)
    joint = "or" if verb == other_verb != "reaches" else "and"
    again = "" if verb == other_verb else f"{other_verb} it "
    later = f"{second} " if again or first != second else ""
    ends = " and ".join(_range(side["final_mean"], ".3f") for side in runs)
    baseline = _range(runs[0]["baseline"], ".3f")
    against = f", where {_BASELINE['domain_acc']} {baseline}" if baseline else ""
    yield (
        f"{doing.capitalize()} {verb} a domain_acc of {THRESHOLDS[0]} {first} {starts[0]} "
        f"({pretrained}) {joint} {again}{later}{starts[1]} ({random}); "
        f"it ends at {ends}{against}."
    )
    yield _sureness(here, keys, gaps, sure, seeds)


def _doing(protocol: str) -> str:
    """Return in words what a protocol trains, and where it starts."""
    if protocol not in PROTOCOLS:
        return f"finetuning ({protocol})"
    doing, pretrained, random = _STARTS[PROTOCOLS[protocol].head_only]
    return f"{doing} {pretrained if PROTOCOLS[protocol].pretrained else random} ({protocol})"


def _reaches(runs: pd.DataFrame) -> tuple[str, str]:
    """Return in words whether runs reach the first threshold, a verb, and when."""
    steps = runs[f"step_{THRESHOLDS[0]}_mean"]
    seeds, there = int(runs["seeds"].sum()), int(runs[f"reached_{THRESHOLDS[0]}"].sum())
    if not there:
        return "does not reach", f"within {_range(runs['steps'], ',')} steps"
    if not steps.notna().any():
        return "reaches", f"in {there} of {seeds} seeds within {_range(runs['steps'], ',')} steps"
    every = "in all seeds of" if seeds > len(runs) else "in"
    rest = f" {every} {steps.count()} of {len(runs)} runs" if steps.isna().any() else ""
    return "reaches", f"after about {_range(steps, ',.0f')} steps{rest}"


def _sureness(
    pairs: Sequence[_Pair],
    keys: Sequence[Key],
    gaps: Mapping[Key, Interval],
    sure: set[Key],
    seeds: int,
) -> str:
    """Return how sure the verdict on starts is, and how many seeds would tell more."""
    steps = {key: gaps[key] for pair in pairs if (key := pair.key(THRESHOLDS[0])) in gaps}
    saved = [gap.mean for gap in steps.values() if isfinite(gap.mean)]
    seen = f"A pretrained start {_saved(saved)}" if saved else ""
    if seeds == 1:
        return f"{seen}; {_SECOND_SEED}." if seen else f"{_capital(_SECOND_SEED)}."
    known = [key for key in keys if not isnan(gaps[key].p)]
    found = len(sure.intersection(keys))
    certain = _certain(found, len(known), f" from {seeds} seeds")
    told = f"{seen}; {certain}" if seen else certain.capitalize()
    open_steps = [
        gap
        for key, gap in steps.items()
        if key not in sure and isfinite(gap.mean) and gap.mean and not isnan(gap.p)
    ]
    if not open_steps:
        return f"{told}."
    return (
        f"{told}; to tell whether such differences in steps are real takes "
        f"{_needed(open_steps, seeds)} seeds."
    )


def _needed(gaps: Sequence[Interval], seeds: int) -> str:
    """Return how many seeds would show differences, as a range."""
    needed = [seeds_needed(gap, seeds) for gap in gaps]
    enough = sorted(number for number in needed if number is not None)
    most = [f"more than {MOST_SEEDS}"] if None in needed else []
    return " to ".join(dict.fromkeys([*map(str, enough[:1]), *(most or map(str, enough[-1:]))]))


def _certain(found: int, compared: int, seeds: str = "") -> str:
    """Return how many of some differences stand out."""
    if not compared:
        return f"no difference has an interval{seeds}"
    stand = "stand" if found > 1 else "stands"
    return f"{found or 'none'} of {compared} differences {stand} out{seeds}"


def _saved(steps: Sequence[float]) -> str:
    """Return what a pretrained start saves, from the mean steps saved in each comparison."""
    low, high = min(steps), max(steps)
    if low >= 0 or high <= 0:
        ends = sorted({f"{abs(low):,.0f}", f"{abs(high):,.0f}"}, key=lambda end: (len(end), end))
        told = " to ".join(ends)
        return f"saves {told} steps" if high > 0 else f"takes {told} more steps"
    return f"saves up to {high:,.0f} steps and takes up to {-low:,.0f} more"


def _one_start_verdict(metrics: pd.DataFrame, runs: pd.DataFrame, doing: str) -> Iterator[str]:
    """Yield whether runs that are compared with no others end above the baseline, and their ends.

    Args:
        metrics: of these runs.
        runs: their summary.
        doing: what they do, in words.
    """
    if runs.empty:
        return
    known, who = runs.dropna(subset="baseline"), _capital(doing)
    if len(known):
        yield _beside_baseline(metrics, known, doing)
        who = "It"
    verb, when = _reaches(runs)
    yield f"{who} {verb} {THRESHOLDS[0]} {when}, and ends at {_ends(runs)}."


def _beside_baseline(metrics: pd.DataFrame, runs: pd.DataFrame, doing: str) -> str:
    """Return whether runs end above the baseline, how sure that is, and how many seeds it takes.

    Runs without an interval, of one seed or of seeds that end alike, count as observed.

    Args:
        metrics: of these runs.
        runs: their summary, with baselines.
        doing: what they do, in words.
    """
    metric, seeds = runs["metric"].iloc[0], runs["seeds"].max()
    keys = ["data", "model", *(["domain"] if runs["domain"].notna().all() else [])]
    gaps, shown = {}, []
    for run in runs.to_dict("records"):
        key, baseline = tuple(run[name] for name in keys), run["baseline"]
        own = metrics[np.logical_and.reduce([metrics[name] == run[name] for name in keys])]
        gap = gaps[key] = mean_interval(accuracy_curves(own).iloc[-1] - baseline)
        low, high = (nan, nan) if isnan(gap.p) else (gap.low, gap.high)
        shown.append(replace(gap, low=max(low, -baseline), high=min(high, 1 - baseline)))
    sure = _sure(gaps)
    open_gaps = [gap for key, gap in gaps.items() if not isnan(gap.p) and key not in sure]
    signs = [
        np.sign(round(gap.mean, 3)) for key, gap in gaps.items() if isnan(gap.p) or key in sure
    ]
    found = [(place, signs.count(sign)) for place, sign in _PLACES if sign in signs]
    parts = [
        f"{place} {'it' if number else 'the baseline'}{_of(count, len(gaps))}"
        for number, (place, count) in enumerate(found)
    ]
    told = (
        f"{_capital(doing)} ends {_listed(parts)}"
        if parts
        else f"This study does not show that {doing} ends above the baseline"
    )
    shown.sort(key=lambda gap: gap.mean)
    ends = " to ".join(dict.fromkeys(_signed(gap, ".3f") for gap in (shown[0], shown[-1])))
    differ = f"difference in {metric} is" if len(gaps) == 1 else f"differences in {metric} are"
    more = ""
    if seeds == 1:
        more = f"; {_SECOND_SEED}"
    elif open_gaps:
        needed = _needed(open_gaps, seeds)
        more = f"; to tell whether such a difference is real takes {needed} seeds"
    ran = "one seed" if seeds == 1 else f"{seeds} seeds"
    return f"{told}, with {ran}: the {differ} {ends}{more}."


def _of(count: int, runs: int) -> str:
    """Return in how many of some runs something is so; nothing of one run."""
    if runs == 1:
        return ""
    return f" in all {runs} runs" if count == runs else f" in {count} of {runs} runs"


def _ends(runs: pd.DataFrame) -> str:
    """Return what runs end at on each data version, beside the baseline."""
    metric = runs["metric"].iloc[0]
    parts = []
    for data, rows in _split(runs, "data"):
        baseline = _range(rows["baseline"], ".3f")
        beside = f" against {baseline}" if baseline else ""
        parts.append(f"{_range(rows['final_mean'], '.3f')}{beside} on data {data}")
    named = (
        f"; the second number is what {_BASELINE[metric]}" if runs["baseline"].notna().any() else ""
    )
    return f"a {metric} of {_listed(parts)}{named}"


def _capital(words: str) -> str:
    return words[0].upper() + words[1:]


def _heads_verdict(
    pairs: Sequence[_Pair], gaps: Mapping[Key, Interval], sure: set[Key], summary: pd.DataFrame
) -> Iterator[str]:
    """Yield what training the head alone ends at, where both starts ran."""
    pretrained, random, *_ = COMPARISONS[1]
    finals = {
        protocol: summary[summary["protocol"] == protocol]["final_mean"]
        for protocol in (pretrained, random)
    }
    keys = [pair.key(FINAL) for pair in pairs if pair.pretrained == pretrained]
    known = [key for key in keys if key in gaps and not isnan(gaps[key].p)]
    certain = f"; {_certain(len(sure.intersection(known)), len(known))}" if known else ""
    if all(len(values) for values in finals.values()):
        yield (
            "With the head alone trained, a pretrained backbone ends at a domain_acc of "
            f"{_range(finals[pretrained], '.3f')} ({pretrained}), a random one at "
            f"{_range(finals[random], '.3f')} ({random}){certain}."
        )


def _pretraining_findings(
    pretrain: pd.DataFrame, gaps: Mapping[Key, Interval], sure: set[Key]
) -> Iterator[str]:
    """Yield which model ends highest on each data version, where the seeds tell."""
    for data, runs in _split(pretrain, "data"):
        finals = {model: accuracy_curves(run).iloc[-1] for model, run in _split(runs, "model")}
        best = max(finals, key=lambda model: finals[model].mean())
        lower = [
            f"{in_accuracy(gaps[key])} above model {model}"
            for model in finals
            if (key := ("math_acc", data, best, model)) in sure
        ]
        if lower:
            yield (
                f"On data {data}, model {best} ends at the highest math_acc, "
                f"{finals[best].mean():.3f}: {_listed(lower)}."
            )


def _overfitting(pretrain: pd.DataFrame) -> Iterator[str]:
    """Yield of each data version training beside validation, and where the loss turns."""
    for data, runs in _split(pretrain, "data"):
        last = runs[runs["step"] == runs.groupby("model")["step"].transform("max")]
        ends = last.groupby("model")[["train_math_acc", "math_acc"]].mean()
        told = (
            f"On data {data}, models end at {_range(ends['train_math_acc'], '.3f')} of the "
            f"training equations right and at {_range(ends['math_acc'], '.3f')} of the validation "
            "equations"
        )
        losses = {
            model: run.groupby("step")["eval_loss"].mean() for model, run in _split(runs, "model")
        }
        rises = {model: loss for model, loss in losses.items() if loss.iloc[-1] > loss.min()}
        if rises:
            turns = [
                f"of model {model} is lowest at step {loss.idxmin():,}, {loss.min():.2f}, and "
                f"rises to {loss.iloc[-1]:.2f}"
                for model, loss in rises.items()
            ]
            told += f"; the validation loss {_listed(turns)}"
        yield f"{told}."


def _protocol_findings(
    pairs: Sequence[_Pair], gaps: Mapping[Key, Interval], sure: set[Key]
) -> Iterator[str]:
    """Yield what a pretrained start changes, on each domain and data version."""
    for pretrained, random, doing, start in COMPARISONS:
        own = [pair for pair in pairs if pair.pretrained == pretrained]
        for place in dict.fromkeys(pair.place for pair in own):
            here = [pair for pair in own if pair.place == place]
            what = f"{place}, {doing} ({pretrained})"
            for threshold in THRESHOLDS:
                for sign, word in ((1, "earlier"), (-1, "later")):
                    parts = [
                        f"model {pair.model} by {in_steps(gaps[key])} steps"
                        f"{pair.missing(threshold)}"
                        for pair in here
                        if (key := pair.key(threshold)) in sure and gaps[key].sign == sign
                    ]
                    if parts:
                        yield (
                            f"{what} reaches a domain_acc of {threshold} {word} than {start} "
                            f"({random}): {_listed(parts)}."
                        )
            for sign, word in ((1, "higher"), (-1, "lower")):
                parts = [
                    f"model {pair.model} by {in_accuracy(gaps[key])}"
                    for pair in here
                    if (key := pair.key(FINAL)) in sure and gaps[key].sign == sign
                ]
                if parts:
                    yield (
                        f"{what} ends at a {word} domain_acc than {start} ({random}): "
                        f"{_listed(parts)}."
                    )


def _comparison_row(pair: _Pair, gaps: Mapping[Key, Interval]) -> dict[str, Any]:
    """Return the row of two runs in the table of comparisons."""
    row: dict[str, Any] = {"domain": pair.domain, "data": pair.data, "model": pair.model}
    row |= {"pretrained": pair.pretrained, "random": pair.random}
    for threshold in THRESHOLDS:
        row[f"steps saved to {threshold}"] = _signed(gaps.get(pair.key(threshold)), ",.0f")
    return row | {"final difference": _signed(gaps.get(pair.key(FINAL)), ".3f")}


def _split(frame: pd.DataFrame, column: str) -> Iterator[tuple[int, pd.DataFrame]]:
    """Yield the versions in a column, ascending, each with its rows."""
    for version in sorted(frame[column].unique().tolist()):
        yield version, frame[frame[column] == version]


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
    """Return a difference and its interval, where it has one, for a table."""
    if gap is None:
        return ""
    if isfinite(gap.mean):
        limits = "" if isnan(gap.low) else f" [{gap.low:{digits}}, {gap.high:{digits}}]"
        return f"{gap.mean:{digits}}{limits}"
    return f"≥ {gap.low:{digits}}" if isfinite(gap.low) else f"≤ {gap.high:{digits}}"


def _range(values: "pd.Series[float]", digits: str) -> str:
    """Return the least and the greatest of some values, or the one; nothing where there is none."""
    known = values.dropna()
    if known.empty:
        return ""
    ends = dict.fromkeys(f"{value:{digits}}" for value in (known.min(), known.max()))
    return " to ".join(ends)


def _listed(parts: Sequence[str]) -> str:
    """Return parts of a sentence with commas and an `and`."""
    *most, last = parts
    return f"{', '.join(most)} and {last}" if most else last
