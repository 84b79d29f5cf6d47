"""The study's summary: one row for each run, with intervals over its seeds."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from gpt_math_domains.files import errors_name
from gpt_math_domains.results.baselines import COLUMNS as BASELINES
from gpt_math_domains.results.baselines import overall, read_baselines
from gpt_math_domains.results.grid import POINT, grid_keys, read_grid, with_keys
from gpt_math_domains.results.metrics import accuracy_curves, read_metrics
from gpt_math_domains.results.statistics import (
    THRESHOLDS,
    Interval,
    between,
    first_step,
    mean_interval,
    seed_results,
)
from gpt_math_domains.results.tables import (
    NUMBER,
    RUN_COLUMNS,
    TEXT,
    WHOLE,
    empty_table,
    parse_fields,
    read_fields,
    typed,
    write_table,
)
from gpt_math_domains.run import ACCURACY, RUN


def _interval_columns(name: str) -> dict[str, str]:
    return {f"{name}_{part}": NUMBER for part in ("mean", "low", "high")}


_MEASURED: dict[str, str] = {"metric": TEXT, "seeds": WHOLE, "steps": WHOLE}
_MEASURED |= _interval_columns("final") | {"baseline": NUMBER}
for _threshold in THRESHOLDS:
    _MEASURED |= {f"reached_{_threshold}": WHOLE} | _interval_columns(f"step_{_threshold}")
COLUMNS = RUN_COLUMNS | _MEASURED


def summarize(
    frames: Iterable[pd.DataFrame], baselines: pd.DataFrame | None = None
) -> pd.DataFrame:
    """Return one row for each run, in the order of the frames.

    `seeds` counts the seeds and `steps` is the last evaluated step. The columns `_mean`, `_low`
    and `_high` give, over the seeds, the mean and its 95% interval (Student t with n - 1 degrees
    of freedom, cut off at the least and greatest possible value; empty with one seed) of

    * `final`: the accuracy that `metric` names, at the last step;
    * `step_0.5`, `step_0.9`, `step_0.99`: the first step with at least that accuracy, as
      `statistics.first_step` tells it. These are empty unless every seed got
      there, since a mean over those that did would flatter slow runs; `reached_0.5`,
      `reached_0.9` and `reached_0.99` count the seeds that did.

    `baseline` is the accuracy to beat; see `baselines`.

    Args:
        frames: tables as `read_metrics` returns them; empty ones add nothing.
        baselines: as `read_baselines` returns them; where there is none, it is empty.
    """
    known = empty_table(BASELINES) if baselines is None else baselines
    rows = [
        _summarize_run(run) | {"baseline": overall(known, run.iloc[0].to_dict())}
        for frame in frames
        for _, run in frame.groupby(RUN, dropna=False)
    ]
    return typed(pd.DataFrame(rows, columns=list(COLUMNS)), COLUMNS)


def summarize_metrics(
    pretrain: str | Path,
    finetune: str | Path,
    baselines: Iterable[str | Path],
    output: str | Path,
    grid_csv: str | Path | None = None,
    own: Sequence[Mapping[str, object]] = (),
) -> None:
    """Write the summary of all runs in two collected tables, and of a grid; see `summarize`.

    With a grid, there are columns after those that tell the run: its `point`, missing in runs of
    the study itself, and one for each key, missing where the key does not concern the run. Points
    that change the data have no baseline.

    Args:
        pretrain: the metrics of all pretraining runs.
        finetune: the metrics of all finetuning runs.
        baselines: of their data and domain versions.
        output: the summary.
        grid_csv: the table of the grid, if there is one.
        own: of each of the study's own runs, its keys and those of the grid, the latter as text or
            None.

    Raises:
        ValueError: a file is no such table.
    """
    known = read_baselines(baselines)
    summary = summarize([read_metrics(pretrain), read_metrics(finetune)], known)
    if grid_csv is None:
        write_table(summary, output)
        return
    grid = read_grid(grid_csv)
    keys = grid_keys(grid)
    values = {tuple(run[key] for key in RUN): run for run in own}
    rows: list[dict[str, object]] = []
    for row in summary.to_dict("records"):
        told = values[tuple(None if pd.isna(row[key]) else row[key] for key in RUN)]
        rows.append({str(name): value for name, value in (row | dict(told)).items()})
    beside = grid[grid["point"].notna()]
    for _, run in beside.groupby(list(POINT), dropna=False, sort=False):
        first = run.iloc[0]
        told = {name: first[name] for name in [*POINT, *keys]} | _summary_row(first, run)
        if "data." not in first["point"]:
            told["baseline"] = overall(known, first.to_dict())
        rows.append(told)
    names = with_keys(POINT, _MEASURED, keys)
    write_table(typed(pd.DataFrame(rows, columns=list(names)), names), output)


def read_summary(path: str | Path) -> pd.DataFrame:
    """Read a table that `summarize_metrics` wrote; with a grid, it has `point` and the grid's keys.

    Raises:
        ValueError: one line that names the file and what is wrong with it.
        OSError: the file cannot be read.
    """
    with errors_name(path):
        text = read_fields(path)
        names = with_keys(POINT, _MEASURED, grid_keys(text)) if "point" in text else COLUMNS
        if list(text) != list(names):
            raise ValueError(f"has the columns {list(text)}; allowed are {list(COLUMNS)}")
        return parse_fields(text, names)


def own_runs(summary: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of a summary that are of the study's own runs, with the columns `COLUMNS`."""
    own = summary[summary["point"].isna()] if "point" in summary else summary
    return own[list(COLUMNS)]


def _summarize_run(run: pd.DataFrame) -> dict[str, object]:
    """Return the summary row of one run's metrics."""
    first = run.iloc[0]
    results = seed_results(accuracy_curves(run))
    return {name: first[name] for name in RUN} | _summary_row(first, results)


def _summary_row(run: "pd.Series[Any]", results: pd.DataFrame) -> dict[str, object]:
    """Return what the summary tells of a run, from what its seeds came to."""
    row: dict[str, Any] = {"metric": ACCURACY[run["phase"]]}
    row |= {"seeds": len(results), "steps": results["steps"].iloc[0]}
    row |= _interval("final", mean_interval(results["final"]).within(1))
    for threshold in THRESHOLDS:
        reached = between(results[f"after_{threshold}"], results[f"by_{threshold}"])
        row[f"reached_{threshold}"] = reached["by"].notna().sum()
        row |= _interval(f"step_{threshold}", first_step(reached).within(row["steps"]))
    return row


def _interval(name: str, found: Interval) -> dict[str, object]:
    """Return the columns of a mean."""
    return {f"{name}_mean": found.mean, f"{name}_low": found.low, f"{name}_high": found.high}
