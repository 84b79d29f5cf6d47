"""Metric tables: one CSV per run, and all runs of a phase in one."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from gpt_math_domains.files import errors_name
from gpt_math_domains.results.tables import (
    NUMBER,
    RUN_COLUMNS,
    TEXT,
    WHOLE,
    WHOLE_OR_NOTHING,
    empty_table,
    parse_fields,
    read_table,
    require,
    require_accuracy,
    typed,
    write_table,
)
from gpt_math_domains.run import ACCURACY, RUN, measures

PARTS = {
    "pretrain": {"operation": TEXT, "modulo": WHOLE_OR_NOTHING, "equations": WHOLE},
    "finetune": {"label": TEXT},
}
"""What tells a part of the validation equations, or a kind of decision, from others."""


def columns(phase: str) -> dict[str, str]:
    """Return the columns of a phase's metrics, in order, with their types.

    `step` counts optimizer steps and `epoch` passes over the training equations; losses are mean
    cross-entropies in nats, accuracies are shares from 0 to 1, `seconds` is elapsed time. What the
    others mean: `run.Evaluation`.

    Raises:
        ValueError: no such phase.
    """
    measured = ["epoch", "learning_rate", *measures(phase), "seconds"]
    return RUN_COLUMNS | {"seed": WHOLE, "step": WHOLE} | dict.fromkeys(measured, NUMBER)


def part_columns(phase: str) -> dict[str, str]:
    """Return the columns of a phase's table of parts, in order, with their types."""
    return RUN_COLUMNS | {"seed": WHOLE, "step": WHOLE} | PARTS[phase] | {"accuracy": NUMBER}


def write_parts(rows: Iterable[Mapping[str, object]], phase: str, path: str | Path) -> None:
    """Write a run's accuracy on each part, a row for each seed, step and part.

    Rows are sorted by seed and step; parts keep their order.

    Args:
        rows: mappings with the keys `part_columns(phase)`. In finetuning, `accuracy` is the share
            of validation equations of which a label is told right; in pretraining, that of a
            family's validation equations whose whole answer is right.
        phase: `pretrain` or `finetune`.
        path: the CSV to publish.
    """
    names = part_columns(phase)
    frame = typed(pd.DataFrame(list(rows), columns=list(names)), names)
    frame = frame.sort_values([*RUN, "seed", "step"], ignore_index=True, kind="stable")
    write_table(frame, path)


def read_parts(inputs: Iterable[str | Path], phase: str) -> pd.DataFrame:
    """Read tables that `write_parts` wrote into one.

    Raises:
        ValueError: one line that names the file and what is wrong with it.
        OSError: a file cannot be read.
    """
    names, part = part_columns(phase), next(iter(PARTS[phase]))
    frames = []
    for path in inputs:
        with errors_name(path):
            frame = read_table(path, names)
            require_accuracy(frame, "accuracy")
            repeated = frame.duplicated(list(names)[:-1])
            require(frame, part, ~repeated, f"each {part} once for each seed and step of a run")
        frames.append(frame)
    return pd.concat(frames or [empty_table(names)], ignore_index=True)


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
    _check_evaluations(merged)
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
    return seed_values(run, metric)


def seed_values(rows: pd.DataFrame, column: str) -> pd.DataFrame:
    """Return a column of a run's table, a row for each step and a column for each seed."""
    # As `pivot` does, which takes five times as long: a large study has thousands of lines.
    steps, row = np.unique(rows["step"].to_numpy(), return_inverse=True)
    seeds, place = np.unique(rows["seed"].to_numpy(), return_inverse=True)
    values = np.full((len(steps), len(seeds)), np.nan)
    values[row, place] = rows[column].to_numpy()
    index, names = pd.Index(steps, name="step"), pd.Index(seeds, name="seed")
    return pd.DataFrame(values, index, names, copy=False)  # else means round in another order


def _check(frame: pd.DataFrame, phase: str) -> None:
    """Raise ValueError where a metrics table says what cannot be."""
    finetuned = phase == "finetune"
    require(frame, "phase", frame["phase"].eq(phase).fillna(False), repr(phase))
    for name in ("domain", "protocol"):
        allowed = "a value" if finetuned else "empty"
        require(frame, name, frame[name].notna() == finetuned, allowed)
    for name in ("epoch", "learning_rate", "seconds"):
        require(frame, name, frame[name].between(0, float("inf"), "left"), "a number from 0")
    accuracy = ACCURACY[phase]
    for name in (accuracy, f"train_{accuracy}"):
        require_accuracy(frame, name)
    for name in (f"mirrored_{accuracy}", f"unmirrored_{accuracy}"):
        require_accuracy(frame.fillna({name: 0.0}), name)
    _check_evaluations(frame)


def _check_evaluations(frame: pd.DataFrame) -> None:
    """Raise ValueError where seeds of a run have other evaluations, or one more than once."""
    repeated = frame.duplicated([*RUN, "seed", "step"])
    require(frame, "step", ~repeated, "each step once for each seed of a run")
    for _, run in frame.groupby(RUN, dropna=False, sort=False):
        seeds = run["seed"].nunique()
        if len(run) < seeds * run["step"].nunique():
            at_step = run.groupby("step")["seed"].transform("size")
            require(run, "step", at_step == seeds, "the same steps for all seeds of a run")


def _sorted(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of a metrics table in their order."""
    return frame.sort_values([*RUN, "seed", "step"], ignore_index=True)


def _text(value: object) -> str:
    """Return a value as its field in a CSV."""
    if value is None or value != value:
        return ""
    return repr(float(value)) if isinstance(value, float) else str(value)
