"""The study's summary: one row for each run, with intervals over its seeds."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from gpt_math_domains.metrics import (
    ACCURACY,
    RUN,
    dtypes,
    errors_name,
    parse_fields,
    read_fields,
    read_metrics,
    require_header,
    write_table,
)

THRESHOLDS = (0.5, 0.9, 0.99)

_INTERVAL = ("mean", "low", "high")
COLUMNS = [
    *RUN,
    *("metric", "seeds", "steps"),
    *(f"{value}_{part}" for value in ("final", "best", "best_step") for part in _INTERVAL),
    *(
        name
        for threshold in THRESHOLDS
        for name in (f"reached_{threshold}", *(f"step_{threshold}_{part}" for part in _INTERVAL))
    ),
]


def summarize(frames: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """Return one row for each run, in the order of the frames.

    `seeds` counts the seeds and `steps` is the last evaluated step. The columns `_mean`, `_low`
    and `_high` give, over the seeds, the mean and its 95% interval (Student t with n - 1 degrees
    of freedom, cut off at the least and greatest possible value; empty with one seed) of

    * `final`: the accuracy that `metric` names, at the last step;
    * `best`, `best_step`: its highest value, and the first step that attains it;
    * `step_0.5`, `step_0.9`, `step_0.99`: the first step with at least that accuracy. These are
      empty unless every seed got there, since a mean over those that did would flatter slow runs;
      `reached_0.5`, `reached_0.9` and `reached_0.99` count the seeds that did.

    Args:
        frames: tables as `read_metrics` returns them; empty ones add nothing.
    """
    rows = [_summarize_run(run) for frame in frames for _, run in frame.groupby(RUN, dropna=False)]
    return pd.DataFrame(rows, columns=COLUMNS).astype(dtypes(COLUMNS))


def summarize_metrics(pretrain: str | Path, finetune: str | Path, output: str | Path) -> None:
    """Write the summary of all runs in two collected tables; see `summarize`.

    Raises:
        ValueError: a file is no metrics table.
    """
    write_table(summarize([read_metrics(pretrain), read_metrics(finetune)]), output)


def read_summary(path: str | Path) -> pd.DataFrame:
    """Read a table that `summarize_metrics` wrote.

    Raises:
        ValueError: one line that names the file and what is wrong with it.
        OSError: the file cannot be read.
    """
    with errors_name(path):
        text = read_fields(path)
        require_header(text, [COLUMNS])
        return parse_fields(text)


def _summarize_run(run: pd.DataFrame) -> dict[str, object]:
    """Return the summary row of one run's metrics."""
    first = run.iloc[0]
    metric = ACCURACY[first["phase"]]
    curves = run.pivot(index="step", columns="seed", values=metric)
    row = {name: first[name] for name in RUN}
    row |= {"metric": metric, "seeds": curves.shape[1], "steps": curves.index[-1]}
    values = {"final": curves.iloc[-1], "best": curves.max(), "best_step": curves.idxmax()}
    for threshold in THRESHOLDS:
        there = curves >= threshold
        row[f"reached_{threshold}"] = there.any().sum()
        values[f"step_{threshold}"] = there.idxmax().where(there.any())
    for name, value in values.items():
        possible = (1, row["steps"]) if "step" in name else (0, 1)
        for part, number in zip(_INTERVAL, _mean_interval(value, possible), strict=True):
            row[f"{name}_{part}"] = number
    return row


def _mean_interval(values: pd.Series, possible: tuple[float, float]) -> tuple[float, float, float]:
    """Return the mean and its 95% Student t interval; NaN where a value is missing."""
    mean = values.mean(skipna=False)
    half = stdtrit(len(values) - 1, 0.975) * values.sem(skipna=False)
    low, high = np.clip([mean - half, mean + half], *possible)
    return mean, low, high
