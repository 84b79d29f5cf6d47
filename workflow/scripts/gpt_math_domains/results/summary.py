"""The study's summary: one row for each run, with intervals over its seeds."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from gpt_math_domains.files import errors_name
from gpt_math_domains.results.baselines import COLUMNS as BASELINES
from gpt_math_domains.results.baselines import overall, read_baselines
from gpt_math_domains.results.metrics import accuracy_curves, read_metrics
from gpt_math_domains.results.statistics import Interval, crossings, first_step, mean_interval
from gpt_math_domains.results.tables import (
    NUMBER,
    RUN_COLUMNS,
    TEXT,
    WHOLE,
    empty_table,
    read_table,
    typed,
    write_table,
)
from gpt_math_domains.run import ACCURACY, RUN

THRESHOLDS = (0.5, 0.9, 0.99)


def _interval_columns(name: str) -> dict[str, str]:
    return {f"{name}_{part}": NUMBER for part in ("mean", "low", "high")}


COLUMNS = RUN_COLUMNS | {"metric": TEXT, "seeds": WHOLE, "steps": WHOLE}
COLUMNS |= _interval_columns("final") | {"baseline": NUMBER}
for _threshold in THRESHOLDS:
    COLUMNS |= {f"reached_{_threshold}": WHOLE} | _interval_columns(f"step_{_threshold}")


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
    pretrain: str | Path, finetune: str | Path, baselines: Iterable[str | Path], output: str | Path
) -> None:
    """Write the summary of all runs in two collected tables; see `summarize`.

    Args:
        pretrain: the metrics of all pretraining runs.
        finetune: the metrics of all finetuning runs.
        baselines: of their data and domain versions.
        output: the summary.

    Raises:
        ValueError: a file is no such table.
    """
    metrics = [read_metrics(pretrain), read_metrics(finetune)]
    write_table(summarize(metrics, read_baselines(baselines)), output)


def read_summary(path: str | Path) -> pd.DataFrame:
    """Read a table that `summarize_metrics` wrote.

    Raises:
        ValueError: one line that names the file and what is wrong with it.
        OSError: the file cannot be read.
    """
    with errors_name(path):
        return read_table(path, COLUMNS)


def _summarize_run(run: pd.DataFrame) -> dict[str, object]:
    """Return the summary row of one run's metrics."""
    first = run.iloc[0]
    curves = accuracy_curves(run)
    row = {name: first[name] for name in RUN} | {"metric": ACCURACY[first["phase"]]}
    row |= {"seeds": curves.shape[1], "steps": curves.index[-1]}
    row |= _interval("final", mean_interval(curves.iloc[-1]), 1)
    for threshold in THRESHOLDS:
        reached = crossings(curves, threshold)
        row[f"reached_{threshold}"] = reached["by"].notna().sum()
        row |= _interval(f"step_{threshold}", first_step(reached), row["steps"])
    return row


def _interval(name: str, found: Interval, most: float) -> dict[str, object]:
    """Return the columns of a mean, its limits cut off at 0 and the greatest possible value."""
    low, high = np.clip([found.low, found.high], 0, most)
    return {f"{name}_mean": found.mean, f"{name}_low": low, f"{name}_high": high}
