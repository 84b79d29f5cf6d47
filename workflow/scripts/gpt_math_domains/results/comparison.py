"""Two studies side by side: what differs in their runs, and in what came out."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

import pandas as pd

from gpt_math_domains.jobs.record import place_of
from gpt_math_domains.results.finished import FinishedRun, finished_runs
from gpt_math_domains.results.statistics import Interval, difference
from gpt_math_domains.run import ACCURACY, RUN

_PARTS = ("model", "settings", "versions")
_FACTS = ("seeds", "precision", "execution", "threads", "device", "code")


@dataclass(frozen=True)
class Outcome:
    """What a run ends with in both studies, over the seeds that both have.

    Attributes:
        run: its name.
        metric: an accuracy, or `eval_loss`.
        seeds: how many both have.
        first: the mean in the first study, at its last step.
        second: the same in the second.
        difference: of the second minus the first, seed by seed; None with fewer than two seeds, or
            where it does not vary.
    """

    run: str
    metric: str
    seeds: int
    first: float
    second: float
    difference: Interval | None


@dataclass(frozen=True)
class Comparison:
    """Two studies side by side.

    Attributes:
        first: where the first one's results are.
        second: and the second one's.
        only_first: the runs that the second does not have.
        only_second: the runs that the first does not have.
        shared: the metrics of the runs of both, by name.
        differences: what differs in the records of shared runs, as name, value in the first and in
            the second; and the runs in which it does.
        outcomes: of the shared runs.
        same: whether the metrics of shared runs are the same, all but the time they took.
    """

    first: Path
    second: Path
    only_first: list[str]
    only_second: list[str]
    shared: dict[str, tuple[pd.DataFrame, pd.DataFrame]]
    differences: dict[tuple[str, str, str], list[str]]
    outcomes: list[Outcome]
    same: bool

    @property
    def is_equal(self) -> bool:
        """Whether nothing differs."""
        return self.same and not (self.only_first or self.only_second or self.differences)


def compare_studies(first: str | Path, second: str | Path) -> Comparison:
    """Compare the finished runs of two studies.

    Args:
        first: a directory of results.
        second: another one.

    Raises:
        ValueError: one has no finished run, or a malformed file.
        OSError: a file cannot be read.
    """
    studies = [_by_name(Path(directory)) for directory in (first, second)]
    shared = [name for name in studies[0] if name in studies[1]]
    pairs = {name: (studies[0][name], studies[1][name]) for name in shared}
    differences: dict[tuple[str, str, str], list[str]] = {}
    for name, (one, other) in pairs.items():
        for found in _differences(one.record, other.record):
            differences.setdefault(found, []).append(name)
    return Comparison(
        first=Path(first),
        second=Path(second),
        only_first=[name for name in studies[0] if name not in studies[1]],
        only_second=[name for name in studies[1] if name not in studies[0]],
        shared={name: (one.metrics, other.metrics) for name, (one, other) in pairs.items()},
        differences=differences,
        outcomes=[outcome for name, pair in pairs.items() for outcome in _outcomes(name, *pair)],
        same=all(_without_time(one).equals(_without_time(other)) for one, other in pairs.values()),
    )


def describe_comparison(comparison: Comparison) -> str:
    """Return what differs as lines of text."""
    lines = [f"first   {comparison.first}", f"second  {comparison.second}"]
    for which, runs in (("first", comparison.only_first), ("second", comparison.only_second)):
        if runs:
            lines.append(f"only in the {which}: {', '.join(runs)}")
    lines.append(f"{len(comparison.shared)} runs in both")
    if comparison.differences:
        lines += ["", "made with (first, second)"]
    for (what, one, other), runs in comparison.differences.items():
        lines.append(f"  {what}: {one}, {other}   {told_runs(comparison, runs)}")
    if comparison.outcomes:
        same = "the same metrics, to the bit" if comparison.same else "other metrics"
        lines += ["", f"came out: {same} (first, second, difference with its 95% interval)"]
    for outcome in comparison.outcomes:
        lines.append(
            f"  {outcome.run} {outcome.metric}: {outcome.first:.4f}, {outcome.second:.4f}, "
            f"{told_difference(outcome)}"
        )
    return "\n".join(lines)


def told_runs(comparison: Comparison, runs: Sequence[str]) -> str:
    """Return in which of the shared runs something differs."""
    if len(runs) == len(comparison.shared):
        return "in all runs"
    return f"in {', '.join(runs)}"


def told_difference(outcome: Outcome) -> str:
    """Return a difference with its interval and the number of seeds."""
    seeds = f"{outcome.seeds} seed{'' if outcome.seeds == 1 else 's'}"
    found = outcome.difference
    if found is None:
        return f"{outcome.second - outcome.first:+.4f} ({seeds}, no interval)"
    return f"{found.mean:+.4f} [{found.low:+.4f}, {found.high:+.4f}] ({seeds})"


def _by_name(directory: Path) -> dict[str, FinishedRun]:
    """Return the finished runs of a study by their names."""
    found = {run.name: run for run in finished_runs(directory)}
    if not found:
        raise ValueError(f"{directory}: has no finished run")
    return found


def _differences(
    first: Mapping[str, Any], second: Mapping[str, Any]
) -> Iterator[tuple[str, str, str]]:
    """Yield what differs in two records: its name, and its value in each."""
    one, other = _facts(first), _facts(second)
    for name in dict.fromkeys([*one, *other]):
        told, others = (str(facts.get(name, "not told")) for facts in (one, other))
        if told != others:
            yield name, told, others


def _facts(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a run was made with, by name; of its files, those of data and labels."""
    facts = {f"{part}.{key}": value for part in _PARTS for key, value in record[part].items()}
    facts |= {key: record.get(key) for key in _FACTS}
    facts["git commit"] = (record.get("git") or {}).get("commit")
    facts |= {
        found[1]: checksum[:12]
        for path, checksum in sorted(record["inputs"].items())
        if (found := place_of(path)) and not path.endswith("/manifest.json")
    }
    return facts


def _outcomes(name: str, first: FinishedRun, second: FinishedRun) -> Iterator[Outcome]:
    """Yield what a run ends with in both studies."""
    for metric in (ACCURACY[first.run["phase"]], "eval_loss"):
        ends = [_ends(run.metrics, metric) for run in (first, second)]
        seeds = sorted(set(ends[0].index) & set(ends[1].index))
        if seeds:
            one, other = (values[seeds] for values in ends)
            gap = difference(other, one)
            known = gap if isfinite(gap.low) else None
            yield Outcome(name, metric, len(seeds), one.mean(), other.mean(), known)


def _ends(metrics: pd.DataFrame, metric: str) -> "pd.Series[float]":
    """Return a metric of each seed at the last step."""
    last = metrics[metrics["step"] == metrics["step"].max()]
    ends: pd.Series[float] = last.set_index("seed")[metric]
    return ends


def _without_time(run: FinishedRun) -> pd.DataFrame:
    """Return a run's metrics but for what differs when it is repeated."""
    return run.metrics.drop(columns="seconds").sort_values([*RUN, "seed", "step"])
