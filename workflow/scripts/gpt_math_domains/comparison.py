"""Reference curves, such as published ones, against the study's own, in numbers."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from gpt_math_domains.curves import read_reference
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

COLUMNS = [
    *RUN,
    "step",
    "metric",
    "reference",
    "seeds",
    "mean",
    "difference",
    "standard_error",
    "standard_errors",
]


def compare(metrics: pd.DataFrame, reference: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each run and step that both have; every protocol has its own.

    `difference` is the mean over the run's seeds less the reference. `standard_error` is that of
    this difference if the reference is one more seed of the same kind: s sqrt(1 + 1 / n), with the
    standard deviation s of n seeds. `standard_errors` is the first over the second; both are empty
    with one seed, and where all seeds agree.

    Args:
        metrics: runs of one data (and domain) version, as `metrics.read_metrics` returns them.
        reference: a curve for each model version, as `curves.read_reference` returns them.
    """
    if metrics.empty:
        return pd.DataFrame(columns=COLUMNS).astype(dtypes(COLUMNS))
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
    return table[COLUMNS].astype(dtypes(COLUMNS))


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
    empty = pd.DataFrame(columns=COLUMNS).astype(dtypes(COLUMNS))
    found = [table for table in tables if not table.empty]
    write_table(pd.concat(found, ignore_index=True) if found else empty, output)


def read_comparison(path: str | Path) -> pd.DataFrame:
    """Read a table that `compare_reference` wrote.

    Raises:
        ValueError: one line that names the file and what is wrong with it.
        OSError: the file cannot be read.
    """
    with errors_name(path):
        text = read_fields(path)
        require_header(text, [COLUMNS])
        return parse_fields(text)
