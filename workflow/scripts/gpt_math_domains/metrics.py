"""Metric tables: one CSV per run, all runs of a phase in one, and the study's summary."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pandas as pd

from gpt_math_domains.files import atomic_write

ACCURACY = {"pretrain": "math_acc", "finetune": "domain_acc"}
RUN = ["phase", "data", "model", "domain", "protocol"]
THRESHOLDS = (0.5, 0.9, 0.99)

_INTERVAL = ("mean", "low", "high")
_SUMMARY = [
    *RUN,
    *("metric", "seeds", "steps"),
    *(f"{value}_{part}" for value in ("final", "best", "best_step") for part in _INTERVAL),
    *(
        name
        for threshold in THRESHOLDS
        for name in (f"reached_{threshold}", *(f"step_{threshold}_{part}" for part in _INTERVAL))
    ),
]
# Every other column is a float64.
_DTYPES = (
    dict.fromkeys(["phase", "protocol", "metric"], "string")
    | {"domain": "Int64"}
    | dict.fromkeys(["data", "model", "seed", "step", "seeds", "steps"], "int64")
    | {f"reached_{threshold}": "int64" for threshold in THRESHOLDS}
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
    with _errors_name(path):
        if not rows:
            raise ValueError("there are no rows to write")
        for row in rows:
            if set(row) != set(names):
                raise ValueError(f"a row has the keys {list(row)}; allowed are {names}")
        text = pd.DataFrame([{name: _text(row[name]) for name in names} for row in rows], dtype=str)
        frame = _parse(text)
        _check(frame, phase)
    _write(_sorted(frame), path)


def read_metrics(path: str | Path) -> pd.DataFrame:
    """Read the metrics of one run, or of all runs of a phase (which may have no rows).

    Returns:
        The columns `columns(phase)`: text, integers (`domain` nullable), and floats exactly as
        they were written. Losses may be NaN or infinite, as in a run that diverged.

    Raises:
        ValueError: one line that names the file and what is wrong with it.
        OSError: the file cannot be read.
    """
    with _errors_name(path):
        text = _read(path)
        _require_header(text, [columns(phase) for phase in ACCURACY])
        frame = _parse(text)
        _check(frame, next(phase for phase in ACCURACY if ACCURACY[phase] in frame))
    return frame


def read_runs(inputs: Iterable[str | Path], phase: str) -> pd.DataFrame:
    """Read the metrics of several runs of one phase into one sorted table.

    Raises:
        ValueError: a file is no metrics table of this phase or has no rows, or two files hold the
            same run.
    """
    empty = pd.DataFrame(columns=columns(phase)).astype(_dtypes(columns(phase)))
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
    _write(read_runs(inputs, phase), output)


def summarize(frames: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """Return one row for each run, in the order of the frames.

    `seeds` counts the seeds and `steps` is the last evaluated step. The columns `_mean`, `_low`
    and `_high` give, over the seeds, the mean and its 95% interval (Student t with n - 1 degrees
    of freedom, not clipped to possible values; empty with one seed) of

    * `final`: the accuracy that `metric` names, at the last step;
    * `best`, `best_step`: its highest value, and the first step that attains it;
    * `step_0.5`, `step_0.9`, `step_0.99`: the first step with at least that accuracy. These are
      empty unless every seed got there, since a mean over those that did would flatter slow runs;
      `reached_0.5`, `reached_0.9` and `reached_0.99` count the seeds that did.

    Args:
        frames: tables as `read_metrics` returns them; empty ones add nothing.
    """
    rows = [_summarize_run(run) for frame in frames for _, run in frame.groupby(RUN, dropna=False)]
    return pd.DataFrame(rows, columns=_SUMMARY).astype(_dtypes(_SUMMARY))


def summarize_metrics(pretrain: str | Path, finetune: str | Path, output: str | Path) -> None:
    """Write the summary of all runs in two collected tables; see `summarize`.

    Raises:
        ValueError: a file is no metrics table.
    """
    _write(summarize([read_metrics(pretrain), read_metrics(finetune)]), output)


def read_summary(path: str | Path) -> pd.DataFrame:
    """Read a table that `summarize_metrics` wrote.

    Raises:
        ValueError: one line that names the file and what is wrong with it.
        OSError: the file cannot be read.
    """
    with _errors_name(path):
        text = _read(path)
        _require_header(text, [_SUMMARY])
        return _parse(text)


def read_reference(path: str | Path, metric: str) -> pd.DataFrame:
    """Read reference curves, such as published ones, to set beside the study's own.

    Args:
        path: a CSV with the columns `model`, `step` and `metric`'s; others are left out.
        metric: `math_acc` or `domain_acc`.

    Raises:
        ValueError: one line that names the file and what is wrong with it.
        OSError: the file cannot be read.
    """
    names = ["model", "step", metric]
    with _errors_name(path):
        text = _read(path)
        if not set(names) <= set(text):
            raise ValueError(f"has the columns {list(text)}; needed are {names}")
        frame = _parse(text[names])
        _check_accuracy(frame, metric)
    return frame.sort_values(["model", "step"], ignore_index=True)


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
        for part, number in zip(_INTERVAL, _mean_interval(value), strict=True):
            row[f"{name}_{part}"] = number
    return row


def _mean_interval(values: pd.Series) -> tuple[float, float, float]:
    """Return the mean and its 95% Student t interval; NaN where a value is missing."""
    from scipy.special import stdtrit  # here, as training imports this module and needs no SciPy

    mean = values.mean(skipna=False)
    half = stdtrit(len(values) - 1, 0.975) * values.sem(skipna=False)
    return mean, mean - half, mean + half


def _check(frame: pd.DataFrame, phase: str) -> None:
    """Raise ValueError where a metrics table says what cannot be."""
    finetuned = phase == "finetune"
    _require(frame, "phase", frame["phase"].eq(phase).fillna(False), repr(phase))
    for name in ("domain", "protocol"):
        allowed = "a value" if finetuned else "empty"
        _require(frame, name, frame[name].notna() == finetuned, allowed)
    for name in ("epoch", "learning_rate", "seconds"):
        _require(frame, name, frame[name].between(0, float("inf"), "left"), "a number from 0")
    _check_accuracy(frame, ACCURACY[phase])
    repeated = frame.duplicated([*RUN, "seed", "step"])
    _require(frame, "step", ~repeated, "each step once for each seed of a run")
    seeds = frame.groupby(RUN, dropna=False)["seed"].transform("nunique")
    at_step = frame.groupby([*RUN, "step"], dropna=False)["seed"].transform("size")
    _require(frame, "step", seeds == at_step, "the same steps for all seeds of a run")


def _check_accuracy(frame: pd.DataFrame, name: str) -> None:
    """Raise ValueError where an accuracy is none."""
    _require(frame, name, frame[name].between(0, 1), "0 to 1")


def _require(frame: pd.DataFrame, name: str, holds: "pd.Series[bool]", allowed: str) -> None:
    """Raise ValueError for the first row in which a column's value is not allowed."""
    if not holds.all():
        bad = frame[~holds].iloc[0].fillna("").astype(str)
        keys = [key for key in (*RUN, "seed", "step") if bad.get(key)]
        row = ", ".join(f"{key} {bad[key]}" for key in keys)
        raise ValueError(f"{name} is {bad[name] or 'empty'} at {row}; allowed: {allowed}")


def _require_header(frame: pd.DataFrame, headers: list[list[str]]) -> None:
    """Raise ValueError unless a table has the columns of one of `headers`."""
    if list(frame) not in headers:
        allowed = " or ".join(map(str, headers))
        raise ValueError(f"has the columns {list(frame)}; allowed are {allowed}")


def _dtypes(names: Iterable[str]) -> dict[str, str]:
    """Return the dtype of each column."""
    return {name: _DTYPES.get(name, "float64") for name in names}


def _sorted(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of a metrics table in their order."""
    return frame.sort_values([*RUN, "seed", "step"], ignore_index=True)


def _text(value: object) -> str:
    """Return a value as its field in a CSV."""
    if value is None or value != value:
        return ""
    return repr(float(value)) if isinstance(value, float) else str(value)


def _read(path: str | Path) -> pd.DataFrame:
    """Read the fields of a CSV as text."""
    text = pd.read_csv(path, dtype=str, keep_default_na=False)
    if not isinstance(text.index, pd.RangeIndex):  # pandas took the first field for a row label
        raise ValueError("has rows with more fields than the header")
    return text


def _parse(text: pd.DataFrame) -> pd.DataFrame:
    """Turn text into each column's type; floats get the nearest double."""
    dtypes = _dtypes(map(str, text))
    for name, dtype in dtypes.items():
        if dtype in _PATTERNS:
            pattern, allowed = _PATTERNS[dtype]
            _require(text, name, text[name].str.fullmatch(pattern), allowed)
    return text.where(text != "").astype(dtypes)


def _write(frame: pd.DataFrame, path: str | Path) -> None:
    """Publish a table as CSV; pandas writes floats by their shortest exact digits."""
    with atomic_write(path) as handle:
        frame.to_csv(handle, index=False, lineterminator="\n")


@contextmanager
def _errors_name(path: str | Path) -> Iterator[None]:
    """Make the ValueErrors that bad content causes one line that names the file."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{path}: {' '.join(str(error).split())}") from None
