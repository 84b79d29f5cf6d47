"""Metric tables: one CSV per run, and all runs of a phase in one."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import pandas as pd

from gpt_math_domains.files import errors_name
from gpt_math_domains.results.tables import (
    NUMBER,
    RUN_COLUMNS,
    TEXT,
    WHOLE,
    empty_table,
    parse_fields,
    read_table,
    require,
    require_accuracy,
    typed,
    write_table,
)
from gpt_math_domains.run import ACCURACY, RUN

LABEL_COLUMNS = RUN_COLUMNS | {"seed": WHOLE, "step": WHOLE, "label": TEXT, "accuracy": NUMBER}


def columns(phase: str) -> dict[str, str]:
    """Return the columns of a phase's metrics, in order, with their types.

    `step` counts optimizer steps and `epoch` passes over the training equations; losses are mean
    cross-entropies in nats, the accuracy is a share from 0 to 1, `seconds` is elapsed time.

    Raises:
        ValueError: no such phase.
    """
    if phase not in ACCURACY:
        raise ValueError(f"phase {phase!r}: allowed are {', '.join(ACCURACY)}")
    measures = ["epoch", "learning_rate", "train_loss", "eval_loss", ACCURACY[phase], "seconds"]
    return RUN_COLUMNS | {"seed": WHOLE, "step": WHOLE} | dict.fromkeys(measures, NUMBER)


def write_label_accuracy(rows: Iterable[Mapping[str, object]], path: str | Path) -> None:
    """Write a finetuning run's accuracy of each label, a row for each seed, step and label.

    Rows are sorted by seed and step; labels keep their order.

    Args:
        rows: mappings with the keys `LABEL_COLUMNS`; `accuracy` is the share of validation
            equations of which the label is told right.
        path: the CSV to publish.
    """
    frame = typed(pd.DataFrame(list(rows), columns=list(LABEL_COLUMNS)), LABEL_COLUMNS)
    frame = frame.sort_values([*RUN, "seed", "step"], ignore_index=True, kind="stable")
    write_table(frame, path)


def read_label_accuracy(inputs: Iterable[str | Path]) -> pd.DataFrame:
    """Read tables that `write_label_accuracy` wrote into one.

    Raises:
        ValueError: one line that names the file and what is wrong with it.
        OSError: a file cannot be read.
    """
    frames = []
    for path in inputs:
        with errors_name(path):
            frame = read_table(path, LABEL_COLUMNS)
            require_accuracy(frame, "accuracy")
            repeated = frame.duplicated(list(LABEL_COLUMNS)[:-1])
            require(frame, "label", ~repeated, "each label once for each seed and step of a run")
        frames.append(frame)
    return pd.concat(frames or [empty_table(LABEL_COLUMNS)], ignore_index=True)


def write_metrics(rows: Iterable[Mapping[str, object]], phase: str, path: str | Path) -> None:
    """Write one run's metrics, a row for each seed and evaluation, sorted.

    Floats are written so that they read back exactly, a NaN as an empty field.

    Args:
        rows: mappings with exactly the keys `columns(phase)`; in pretraining, `domain` and
            `protocol` are None.
        phase: `pretrain` or `finetune`.
        path: the CSV to publish.

    Raises:
        ValueError: no rows, other keys, or values that `read_metrics` refuses.
    """
    names = columns(phase)
    rows = list(rows)
    with errors_name(path):
        if not rows:
            raise ValueError("there are no rows to write")
        for row in rows:
            if set(row) != set(names):
                raise ValueError(f"a row has the keys {list(row)}; allowed are {list(names)}")
        text = pd.DataFrame([{name: _text(row[name]) for name in names} for row in rows], dtype=str)
        frame = parse_fields(text, names)
        _check(frame, phase)
    write_table(_sorted(frame), path)


def read_metrics(path: str | Path) -> pd.DataFrame:
    """Read the metrics of one run, or of all runs of a phase (which may have no rows).

    Returns:
        The columns `columns(phase)`: text, integers (`domain` nullable), and floats exactly as
        they were written. Losses may be NaN or infinite, as in a run that diverged.

    Raises:
        ValueError: one line that names the file and what is wrong with it.
        OSError: the file cannot be read.
    """
    with errors_name(path):
        frame = read_table(path, *map(columns, ACCURACY))
        _check(frame, next(phase for phase in ACCURACY if ACCURACY[phase] in frame))
    return frame


def read_runs(inputs: Iterable[str | Path], phase: str) -> pd.DataFrame:
    """Read the metrics of several runs of one phase into one sorted table.

    Raises:
        ValueError: a file is no metrics table of this phase or has no rows, or two files hold the
            same run.
    """
    frames = []
    for path in inputs:
        frame = read_metrics(path)
        if ACCURACY[phase] not in frame or frame.empty:
            raise ValueError(f"{path}: has no rows of phase {phase!r}")
        frames.append(frame)
    merged = pd.concat(frames or [empty_table(columns(phase))], ignore_index=True)
    _check(merged, phase)
    return _sorted(merged)


def collect_metrics(inputs: Iterable[str | Path], phase: str, output: str | Path) -> None:
    """Write the metrics of all runs of a phase as one sorted table; without runs only its header.

    Raises:
        ValueError: see `read_runs`.
    """
    write_table(read_runs(inputs, phase), output)


def accuracy_curves(run: pd.DataFrame) -> pd.DataFrame:
    """Return a run's accuracies, a row for each step and a column for each seed."""
    metric = next(name for name in ACCURACY.values() if name in run)
    return run.pivot(index="step", columns="seed", values=metric)


def _check(frame: pd.DataFrame, phase: str) -> None:
    """Raise ValueError where a metrics table says what cannot be."""
    finetuned = phase == "finetune"
    require(frame, "phase", frame["phase"].eq(phase).fillna(False), repr(phase))
    for name in ("domain", "protocol"):
        allowed = "a value" if finetuned else "empty"
        require(frame, name, frame[name].notna() == finetuned, allowed)
    for name in ("epoch", "learning_rate", "seconds"):
        require(frame, name, frame[name].between(0, float("inf"), "left"), "a number from 0")
    require_accuracy(frame, ACCURACY[phase])
    repeated = frame.duplicated([*RUN, "seed", "step"])
    require(frame, "step", ~repeated, "each step once for each seed of a run")
    seeds = frame.groupby(RUN, dropna=False)["seed"].transform("nunique")
    at_step = frame.groupby([*RUN, "step"], dropna=False)["seed"].transform("size")
    require(frame, "step", seeds == at_step, "the same steps for all seeds of a run")


def _sorted(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of a metrics table in their order."""
    return frame.sort_values([*RUN, "seed", "step"], ignore_index=True)


def _text(value: object) -> str:
    """Return a value as its field in a CSV."""
    if value is None or value != value:
        return ""
    return repr(float(value)) if isinstance(value, float) else str(value)
