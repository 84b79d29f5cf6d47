"""Reference curves, such as published ones, against the study's own, in numbers."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from gpt_math_domains.files import errors_name
from gpt_math_domains.results.metrics import read_metrics
from gpt_math_domains.results.tables import (
    NUMBER,
    RUN_COLUMNS,
    TEXT,
    WHOLE,
    empty_table,
    parse_fields,
    read_fields,
    read_table,
    require_accuracy,
    typed,
    write_table,
)
from gpt_math_domains.run import ACCURACY, RUN

COLUMNS = RUN_COLUMNS | {
    "step": WHOLE,
    "metric": TEXT,
    "reference": NUMBER,
    "seeds": WHOLE,
    "mean": NUMBER,
    "difference": NUMBER,
    "standard_error": NUMBER,
    "standard_errors": NUMBER,
}


def read_reference(path: str | Path, metric: str) -> pd.DataFrame:
    """Read reference curves, such as published ones, to set beside the study's own.

    Args:
        path: a CSV with the columns `model`, `step` and `metric`'s; others are left out.
        metric: `math_acc` or `domain_acc`.

    Raises:
        ValueError: one line that names the file and what is wrong with it.
        OSError: the file cannot be read.
    """
    columns = {"model": WHOLE, "step": WHOLE, metric: NUMBER}
    with errors_name(path):
        text = read_fields(path)
        if not set(columns) <= set(text):
            raise ValueError(f"has the columns {list(text)}; needed are {list(columns)}")
        frame = parse_fields(text[list(columns)], columns)
        require_accuracy(frame, metric)
    return frame.sort_values(["model", "step"], ignore_index=True)


def compare(metrics: pd.DataFrame, reference: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each run and step that both have; every protocol has its own.

    `difference` is the mean over the run's seeds less the reference. `standard_error` is that of
    this difference if the reference is one more seed of the same kind: s sqrt(1 + 1 / n), with the
    standard deviation s of n seeds. `standard_errors` is the first over the second; both are empty
    with one seed, and where all seeds agree.

    Args:
        metrics: runs of one data (and domain) version, as `metrics.read_metrics` returns them.
        reference: a curve for each model version, as `read_reference` returns them.
    """
    if metrics.empty:
        return empty_table(COLUMNS)
    metric = ACCURACY[metrics["phase"].iloc[0]]
    groups = metrics.groupby([*RUN, "step"], dropna=False)[metric]
    own = groups.agg(seeds="size", mean="mean", deviation="std").reset_index()
    both = own.merge(reference.rename(columns={metric: "reference"}), on=["model", "step"])
    error = both["deviation"] * np.sqrt(1 + 1 / both["seeds"])
    difference = both["mean"] - both["reference"]
    table = both.assign(
        metric=metric,
        difference=difference,
        standard_error=error.where(error > 0),
        standard_errors=difference / error.where(error > 0),
    )
    return typed(table, COLUMNS)


def compare_reference(
    pretrain_csv: str | Path,
    finetune_csv: str | Path,
    references: Mapping[str, str | Path],
    output: str | Path,
) -> None:
    """Write how far the study's own curves are from the reference curves; see `compare`.

    Args:
        pretrain_csv: the metrics of all pretraining runs.
        finetune_csv: the metrics of all finetuning runs.
        references: tables by figure, `pretrain_1` or `finetune_1_pretrain_3`.
        output: the table.

    Raises:
        ValueError: a table is malformed.
    """
    collected = {"pretrain": read_metrics(pretrain_csv), "finetune": read_metrics(finetune_csv)}
    tables = []
    for figure, path in sorted(references.items()):
        phase = "finetune" if figure.startswith("finetune") else "pretrain"
        numbers = [int(word) for word in figure.split("_") if word.isdigit()]
        metrics = collected[phase]
        wanted = dict(zip(("data", "domain"), reversed(numbers), strict=False))
        for name, number in wanted.items():
            metrics = metrics[metrics[name] == number]
        tables.append(compare(metrics, read_reference(path, ACCURACY[phase])))
    found = [table for table in tables if not table.empty]
    write_table(pd.concat(found, ignore_index=True) if found else empty_table(COLUMNS), output)


def read_comparison(path: str | Path) -> pd.DataFrame:
    """Read a table that `compare_reference` wrote.

    Raises:
        ValueError: one line that names the file and what is wrong with it.
        OSError: the file cannot be read.
    """
    with errors_name(path):
        return read_table(path, COLUMNS)
