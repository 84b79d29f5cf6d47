"""Metric tables: one CSV per run, and all runs of a phase in one."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pandas as pd

from gpt_math_domains.files import atomic_write

ACCURACY = {"pretrain": "math_acc", "finetune": "domain_acc"}
RUN = ["phase", "data", "model", "domain", "protocol"]

LABEL_COLUMNS = [*RUN, "seed", "step", "label", "accuracy"]

# Every other column is a float64.
_DTYPES = (
    dict.fromkeys(["phase", "protocol", "metric", "label", "split", "operation"], "string")
    | dict.fromkeys(["domain", "modulo"], "Int64")
    | dict.fromkeys(["data", "model", "seed", "step", "seeds", "steps"], "int64")
    | dict.fromkeys(["a", "b", "right"], "int64")
)
_PATTERNS = {
    "int64": (r"[0-9]{1,18}", "a whole number"),
    "Int64": (r"[0-9]{0,18}", "a whole number or nothing"),
    "float64": (r"(-?[0-9]+(\.[0-9]*)?([eE][-+]?[0-9]+)?|-?inf)?", "a number"),
}


def columns(phase: str) -> list[str]:
    """Return the columns of a phase's metrics, in order.

    `step` counts optimizer steps and `epoch` passes over the training equations; losses are mean
    cross-entropies in nats, the accuracy is a share from 0 to 1, `seconds` is elapsed time.

    Raises:
        ValueError: no such phase.
    """
    if phase not in ACCURACY:
        raise ValueError(f"phase {phase!r}: allowed are {', '.join(ACCURACY)}")
    measures = ["epoch", "learning_rate", "train_loss", "eval_loss", ACCURACY[phase], "seconds"]
    return [*RUN, "seed", "step", *measures]


def write_label_accuracy(rows: Iterable[Mapping[str, object]], path: str | Path) -> None:
    """Write a finetuning run's accuracy of each label, a row for each seed, step and label.

    Rows are sorted by seed and step; labels keep their order.

    Args:
        rows: mappings with the keys `LABEL_COLUMNS`; `accuracy` is the share of validation
            equations of which the label is told right.
        path: the CSV to publish.
    """
    frame = pd.DataFrame(list(rows), columns=LABEL_COLUMNS).astype(dtypes(LABEL_COLUMNS))
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
            text = read_fields(path)
            require_header(text, [LABEL_COLUMNS])
            frame = parse_fields(text)
            check_accuracy(frame, "accuracy")
            repeated = frame.duplicated(LABEL_COLUMNS[:-1])
            require(frame, "label", ~repeated, "each label once for each seed and step of a run")
        frames.append(frame)
    empty = pd.DataFrame(columns=LABEL_COLUMNS).astype(dtypes(LABEL_COLUMNS))
    return pd.concat(frames or [empty], ignore_index=True)


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
                raise ValueError(f"a row has the keys {list(row)}; allowed are {names}")
        text = pd.DataFrame([{name: _text(row[name]) for name in names} for row in rows], dtype=str)
        frame = parse_fields(text)
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
        text = read_fields(path)
        require_header(text, [columns(phase) for phase in ACCURACY])
        frame = parse_fields(text)
        _check(frame, next(phase for phase in ACCURACY if ACCURACY[phase] in frame))
    return frame


def read_runs(inputs: Iterable[str | Path], phase: str) -> pd.DataFrame:
    """Read the metrics of several runs of one phase into one sorted table.

    Raises:
        ValueError: a file is no metrics table of this phase or has no rows, or two files hold the
            same run.
    """
    empty = pd.DataFrame(columns=columns(phase)).astype(dtypes(columns(phase)))
    frames = []
    for path in inputs:
        frame = read_metrics(path)
        if ACCURACY[phase] not in frame or frame.empty:
            raise ValueError(f"{path}: has no rows of phase {phase!r}")
        frames.append(frame)
    merged = pd.concat(frames or [empty], ignore_index=True)
    _check(merged, phase)
    return _sorted(merged)


def collect_metrics(inputs: Iterable[str | Path], phase: str, output: str | Path) -> None:
    """Write the metrics of all runs of a phase as one sorted table; without runs only its header.

    Raises:
        ValueError: see `read_runs`.
    """
    write_table(read_runs(inputs, phase), output)


def _check(frame: pd.DataFrame, phase: str) -> None:
    """Raise ValueError where a metrics table says what cannot be."""
    finetuned = phase == "finetune"
    require(frame, "phase", frame["phase"].eq(phase).fillna(False), repr(phase))
    for name in ("domain", "protocol"):
        allowed = "a value" if finetuned else "empty"
        require(frame, name, frame[name].notna() == finetuned, allowed)
    for name in ("epoch", "learning_rate", "seconds"):
        require(frame, name, frame[name].between(0, float("inf"), "left"), "a number from 0")
    check_accuracy(frame, ACCURACY[phase])
    repeated = frame.duplicated([*RUN, "seed", "step"])
    require(frame, "step", ~repeated, "each step once for each seed of a run")
    seeds = frame.groupby(RUN, dropna=False)["seed"].transform("nunique")
    at_step = frame.groupby([*RUN, "step"], dropna=False)["seed"].transform("size")
    require(frame, "step", seeds == at_step, "the same steps for all seeds of a run")


def check_accuracy(frame: pd.DataFrame, name: str) -> None:
    """Raise ValueError where an accuracy is none."""
    require(frame, name, frame[name].between(0, 1), "0 to 1")


def require(frame: pd.DataFrame, name: str, holds: "pd.Series[bool]", allowed: str) -> None:
    """Raise ValueError for the first row in which a column's value is not allowed."""
    if not holds.all():
        bad = frame[~holds].iloc[0].fillna("").astype(str)
        keys = [key for key in (*RUN, "seed", "step") if bad.get(key)]
        row = ", ".join(f"{key} {bad[key]}" for key in keys)
        raise ValueError(f"{name} is {bad[name] or 'empty'} at {row}; allowed: {allowed}")


def require_header(frame: pd.DataFrame, headers: list[list[str]]) -> None:
    """Raise ValueError unless a table has the columns of one of `headers`."""
    if list(frame) not in headers:
        allowed = " or ".join(map(str, headers))
        raise ValueError(f"has the columns {list(frame)}; allowed are {allowed}")


def dtypes(names: Iterable[str]) -> dict[str, str]:
    """Return the dtype of each column."""
    return {
        name: "int64" if name.startswith("reached_") else _DTYPES.get(name, "float64")
        for name in names
    }


def _sorted(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of a metrics table in their order."""
    return frame.sort_values([*RUN, "seed", "step"], ignore_index=True)


def _text(value: object) -> str:
    """Return a value as its field in a CSV."""
    if value is None or value != value:
        return ""
    return repr(float(value)) if isinstance(value, float) else str(value)


def read_fields(path: str | Path) -> pd.DataFrame:
    """Read the fields of a CSV as text."""
    text = pd.read_csv(path, dtype=str, keep_default_na=False)
    if not isinstance(text.index, pd.RangeIndex):  # pandas took the first field for a row label
        raise ValueError("has rows with more fields than the header")
    return text


def parse_fields(text: pd.DataFrame) -> pd.DataFrame:
    """Turn text into each column's type; floats get the nearest double."""
    wanted = dtypes(map(str, text))
    for name, dtype in wanted.items():
        if dtype in _PATTERNS:
            pattern, allowed = _PATTERNS[dtype]
            require(text, name, text[name].str.fullmatch(pattern), allowed)
    return text.where(text != "").astype(wanted)


def write_table(frame: pd.DataFrame, path: str | Path) -> None:
    """Publish a table as CSV; pandas writes floats by their shortest exact digits."""
    with atomic_write(path) as handle:
        frame.to_csv(handle, index=False, lineterminator="\n")


@contextmanager
def errors_name(path: str | Path) -> Iterator[None]:
    """Make the ValueErrors that bad content causes one line that names the file."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{path}: {' '.join(str(error).split())}") from None
