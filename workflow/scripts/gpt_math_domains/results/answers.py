"""The table of answers: which equations a pretrained model gets right, seed by seed."""

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from gpt_math_domains.data.families import Parts
from gpt_math_domains.data.vocabulary import OPERATIONS
from gpt_math_domains.files import errors_name
from gpt_math_domains.results.tables import (
    NUMBER,
    RUN_COLUMNS,
    TEXT,
    WHOLE,
    WHOLE_OR_NOTHING,
    empty_table,
    read_table,
    require,
    require_accuracy,
    typed,
    write_table,
)

SPLITS = ("train", "valid")
COLUMNS = {
    "data": WHOLE,
    "model": WHOLE,
    "seed": WHOLE,
    "split": TEXT,
    "operation": TEXT,
    "modulo": WHOLE_OR_NOTHING,
    "a": WHOLE,
    "b": WHOLE,
    "right": WHOLE,
    "answer": TEXT,
    "probability": NUMBER,
}
_EQUATION = list(COLUMNS)[:-3]
TRAJECTORY_COLUMNS = {
    "data": WHOLE,
    "model": WHOLE,
    "seed": WHOLE,
    "step": WHOLE,
    "split": TEXT,
    "operation": TEXT,
    "modulo": WHOLE_OR_NOTHING,
    "equations": WHOLE,
    "accuracy": NUMBER,
}
LABEL_TRAJECTORY_COLUMNS = RUN_COLUMNS | {
    "seed": WHOLE,
    "step": WHOLE,
    "split": TEXT,
    "label": TEXT,
    "accuracy": NUMBER,
}


def describe_equations(parts: Parts) -> pd.DataFrame:
    """Return the columns that tell equations: operation, modulus, `a` and `b`."""
    modulo = pd.Series(parts.modulo, dtype="Int64")
    return pd.DataFrame(
        {
            "operation": parts.operation,
            "modulo": modulo.where(modulo > 0),
            "a": parts.first,
            "b": parts.second,
        }
    )


def write_answers(frame: pd.DataFrame, path: str | Path) -> None:
    """Write one model's answers, a row for each seed and equation, train before validation.

    Args:
        frame: the columns `COLUMNS`: `a` and `b` are the operands, `modulo` is missing without
            one, `answer` is what the model writes after all before it, `probability` that which it
            gives to this answer, and `right` is 1 where it is the right one.
        path: the CSV to publish.
    """
    write_table(typed(frame, COLUMNS), path)


def write_trajectory(frame: pd.DataFrame, path: str | Path) -> None:
    """Write what a model knows of each family along training, a row for each seed, step and family.

    Args:
        frame: the columns `TRAJECTORY_COLUMNS`: `accuracy` is the share of the family's `equations`
            in a split whose whole answer is predicted, given all before it.
        path: the CSV to publish.
    """
    write_table(typed(frame, TRAJECTORY_COLUMNS), path)


def write_label_trajectory(frame: pd.DataFrame, path: str | Path) -> None:
    """Write what a model knows of each label along training, a row for each seed, step and label.

    Args:
        frame: the columns `LABEL_TRAJECTORY_COLUMNS`: `accuracy` is the share of a split's
            equations of which the label is told right.
        path: the CSV to publish.
    """
    write_table(typed(frame, LABEL_TRAJECTORY_COLUMNS), path)


def read_answers(inputs: Iterable[str | Path]) -> pd.DataFrame:
    """Read tables that `write_answers` wrote into one.

    Raises:
        ValueError: one line that names the file and what is wrong with it.
        OSError: a file cannot be read.
    """
    frames = []
    for path in inputs:
        with errors_name(path):
            frame = read_table(path, COLUMNS)
            for name, allowed in (("split", SPLITS), ("operation", OPERATIONS)):
                require(frame, name, frame[name].isin(allowed), ", ".join(allowed))
            require(frame, "right", frame["right"].isin([0, 1]), "0 or 1")
            require_accuracy(frame, "probability")
            repeated = frame.duplicated(_EQUATION)
            require(frame, "b", ~repeated, "each equation once for each seed of a model")
        frames.append(frame)
    return pd.concat(frames or [empty_table(COLUMNS)], ignore_index=True)
