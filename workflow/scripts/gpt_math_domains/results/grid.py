"""The table of a grid: what each seed of each run came to, by the values of the grid's keys."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import takewhile
from pathlib import Path

import pandas as pd

from gpt_math_domains.files import errors_name
from gpt_math_domains.results.metrics import accuracy_curves, read_metrics
from gpt_math_domains.results.statistics import THRESHOLDS, seed_results
from gpt_math_domains.results.tables import (
    NUMBER,
    RUN_COLUMNS,
    TEXT,
    WHOLE,
    WHOLE_OR_NOTHING,
    Columns,
    parse_fields,
    read_fields,
    require,
    require_accuracy,
    typed,
    write_table,
)
from gpt_math_domains.run import ACCURACY, RUN

POINT = RUN_COLUMNS | {"point": TEXT}
"""What tells a run at a point of the grid from others; `point` as in `run.DIRECTORIES`."""
RESULTS = {
    "seed": WHOLE,
    "metric": TEXT,
    "steps": WHOLE,
    "final": NUMBER,
    "final_loss": NUMBER,
    "best": NUMBER,
    "best_step": WHOLE,
}
for _threshold in THRESHOLDS:
    RESULTS |= {f"after_{_threshold}": WHOLE, f"by_{_threshold}": WHOLE_OR_NOTHING}
    RESULTS |= {f"step_{_threshold}": NUMBER}


def with_keys(before: Columns, after: Columns, keys: Iterable[str]) -> dict[str, str]:
    """Return the columns of a table that has one for each key of a grid."""
    return {**before, **dict.fromkeys(keys, TEXT), **after}


def collect_grid(
    inputs: Sequence[str | Path], values: Sequence[Mapping[str, str | None]], output: str | Path
) -> None:
    """Write what came out of all runs of a grid, a row for each run and seed.

    After the columns that tell the run and its point, which is missing where that is a run of the
    study itself, there is one for each key of the grid, missing where the key does not concern the
    run. `steps` is the last evaluated step, `final` the accuracy there that `metric` names and
    `final_loss` the loss on the validation equations; `best` and `best_step` tell the highest
    accuracy and the first step that attains it; `by_0.5` and the like are the first evaluated
    step with at least that accuracy, missing where there is none, `after_0.5` and the like the
    step of the evaluation before it, or the last, and `step_0.5` and the like the middle of both,
    whose mean over seeds the summary tells.

    Args:
        inputs: the runs' metrics.
        values: of each run, `point` and the keys of the grid, the same for all, as text or None.
        output: the table.

    Raises:
        ValueError: a file is no metrics table, or not of one run.
    """
    frames = []
    for path, told in zip(inputs, values, strict=True):
        metrics = read_metrics(path)
        first = metrics.iloc[0] if len(metrics) else None
        if first is None or len(metrics[RUN].drop_duplicates()) > 1:
            raise ValueError(f"{path}: expected the metrics of one run")
        last = metrics[metrics["step"] == metrics["step"].max()].set_index("seed")
        found = seed_results(accuracy_curves(metrics)).assign(
            **{name: first[name] for name in RUN},
            **told,
            metric=ACCURACY[first["phase"]],
            final_loss=last["eval_loss"],
        )
        frames.append(found.reset_index())
    names = with_keys(POINT, RESULTS, (key for key in values[0] if key != "point"))
    write_table(typed(pd.concat(frames, ignore_index=True), names), output)


def read_grid(path: str | Path) -> pd.DataFrame:
    """Read a table that `collect_grid` wrote.

    Raises:
        ValueError: one line that names the file and what is wrong with it.
        OSError: the file cannot be read.
    """
    with errors_name(path):
        text = read_fields(path)
        keys = [str(name) for name in text if name not in POINT | RESULTS]
        names = with_keys(POINT, RESULTS, keys)
        if list(text) != list(names):
            raise ValueError(
                f"has the columns {list(text)}; allowed are {list(POINT)}, keys, {list(RESULTS)}"
            )
        frame = parse_fields(text, names)
        require(frame, "phase", frame["phase"].isin(ACCURACY), ", ".join(ACCURACY))
        for name in ("final", "best"):
            require_accuracy(frame, name)
        repeated = frame.duplicated([*POINT, "seed"])
        require(frame, "seed", ~repeated, "each seed once for each run and point")
    return frame


def grid_keys(frame: pd.DataFrame) -> list[str]:
    """Return the columns of a table that are keys of a grid, those after `point`, if any."""
    names = [str(name) for name in frame][len(POINT) :]
    after = takewhile(lambda name: name not in RESULTS, names)
    return list(after) if "point" in frame else []
