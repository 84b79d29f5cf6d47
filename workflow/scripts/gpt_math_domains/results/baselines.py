"""What answers score that do not look at the operands: the accuracy that a model has to beat.

In pretraining, that is always to give the most frequent training answer of an equation's family (of
several, the one that comes first); a family that is held out from training has the most frequent
answer of all training equations. In finetuning, it is always to tell a label as most training
equations have it (yes, of two halves).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gpt_math_domains.data.families import Parts, families_of, parts_of
from gpt_math_domains.data.manifest import check_manifest
from gpt_math_domains.data.tables import Integers, read_equations, read_labels, require_known
from gpt_math_domains.data.vocabulary import read_vocabulary
from gpt_math_domains.files import errors_name
from gpt_math_domains.results.tables import (
    NUMBER,
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

COLUMNS = {
    "phase": TEXT,
    "data": WHOLE,
    "domain": WHOLE_OR_NOTHING,
    "operation": TEXT,
    "modulo": WHOLE_OR_NOTHING,
    "label": TEXT,
    "answer": TEXT,
    "equations": WHOLE,
    "accuracy": NUMBER,
    "train_accuracy": NUMBER,
}
_KEYS = list(COLUMNS)[:6]
_PART = ["operation", "modulo", "label"]


def compute_baselines(
    train: Path,
    valid: Path,
    data: int,
    output: str | Path,
    *,
    domain: int | None = None,
    vocabulary: Path | None = None,
    manifest: Path | None = None,
) -> None:
    """Write the baselines of a data version's answers or, with a domain version, of its labels.

    The table has a row for all validation equations, then one for each family or label. `answer`
    is what is always given; `accuracy` is the share of validation equations (of decisions, over all
    labels) for which it is right, `train_accuracy` that of training equations.

    Args:
        train: the equations that are trained on or, with a domain version, their labels.
        valid: the same of the validation equations.
        data: the data version.
        output: the table.
        domain: the domain version.
        vocabulary: of equations.
        manifest: the checksums of equations and vocabulary.

    Raises:
        ValueError: a file is malformed, or does not belong to the others.
    """
    keys: dict[str, Any] = {"phase": "pretrain", "data": data, "domain": domain}
    if vocabulary is None or manifest is None:
        keys["phase"] = "finetune"
        (names, trained), (others, judged) = read_labels(train), read_labels(valid)
        if names != others:
            raise ValueError(f"{valid}: has the labels {others}, not {names} as {train}")
        rows = list(label_baselines(names, trained, judged))
    else:
        check_manifest(manifest, train=train, valid=valid, vocabulary=vocabulary)
        symbols, parts = read_vocabulary(vocabulary), []
        for path in (train, valid):
            equations = read_equations(path)
            with errors_name(path):
                require_known(equations.tokens, symbols)
                parts.append(parts_of(equations, symbols))
        rows = list(answer_baselines(*parts))
    frame = pd.DataFrame([keys | row for row in rows], columns=list(COLUMNS))
    write_table(typed(frame, COLUMNS), output)


def answer_baselines(trained: Parts, judged: Parts) -> Iterator[dict[str, Any]]:
    """Yield the baseline of all validation equations, and then that of each of their families."""
    families, members = families_of(judged)
    common = _commonest(trained.answer)
    rows, right, train_right = [], 0, 0
    for family, member in zip(families, members.T, strict=True):
        operation, modulo = family["operation"], family["modulo"]
        own = trained.answer[(trained.operation == operation) & (trained.modulo == (modulo or 0))]
        answer = _commonest(own) if len(own) else common
        right += int((judged.answer[member] == answer).sum())
        train_right += int((own == answer).sum())
        rows.append(
            family
            | {"answer": str(answer), "accuracy": float((judged.answer[member] == answer).mean())}
            | {"train_accuracy": float((own == answer).mean()) if len(own) else None}
        )
    yield {
        "equations": len(judged),
        "accuracy": right / len(judged),
        "train_accuracy": train_right / len(trained),
    }
    yield from rows


def label_baselines(
    names: Sequence[str], trained: NDArray[np.uint8], judged: NDArray[np.uint8]
) -> Iterator[dict[str, Any]]:
    """Yield the baseline of all decisions, and then that of each label.

    Args:
        names: of the labels.
        trained: the answers [equations, labels] of training equations, 0 or 1.
        judged: those of validation equations.
    """
    answers = (2 * trained.sum(axis=0, dtype=np.int64) >= len(trained)).astype(np.uint8)
    yield {
        "equations": len(judged),
        "accuracy": float((judged == answers).mean()),
        "train_accuracy": float((trained == answers).mean()),
    }
    for place, name in enumerate(names):
        yield {
            "label": name,
            "answer": "yes" if answers[place] else "no",
            "equations": len(judged),
            "accuracy": float((judged[:, place] == answers[place]).mean()),
            "train_accuracy": float((trained[:, place] == answers[place]).mean()),
        }


def read_baselines(inputs: Iterable[str | Path]) -> pd.DataFrame:
    """Read tables that `compute_baselines` wrote into one.

    Raises:
        ValueError: one line that names the file and what is wrong with it.
        OSError: a file cannot be read.
    """
    frames = []
    for path in inputs:
        with errors_name(path):
            frame = read_table(path, COLUMNS)
            require(frame, "phase", frame["phase"].isin(["pretrain", "finetune"]), "a phase")
            require_accuracy(frame, "accuracy")
            require_accuracy(frame.fillna({"train_accuracy": 0.0}), "train_accuracy")
            repeated = frame.duplicated(_KEYS)
            require(frame, "phase", ~repeated, "each family or label once")
        frames.append(frame)
    return pd.concat(frames or [empty_table(COLUMNS)], ignore_index=True)


def overall(baselines: pd.DataFrame, run: Mapping[Any, Any]) -> float:
    """Return the baseline of a run's accuracy; NaN where none was computed.

    Args:
        baselines: as `read_baselines` returns them.
        run: its `phase`, `data` and, in finetuning, `domain`.
    """
    rows = baselines[baselines[_PART].isna().all(axis=1) & (baselines["data"] == run["data"])]
    rows = rows[rows["phase"] == run["phase"]]
    if run["phase"] == "finetune":
        rows = rows[rows["domain"] == run["domain"]]
    return float(rows["accuracy"].iloc[0]) if len(rows) else float("nan")


def of_families(baselines: pd.DataFrame, column: str = "accuracy") -> pd.DataFrame:
    """Return a column as a table of operations and moduli, `none` without one."""
    rows = baselines[baselines["operation"].notna()]
    named = rows.assign(modulo=rows["modulo"].astype("string").fillna("none"))
    return named.pivot(index="operation", columns="modulo", values=column)


def of_labels(baselines: pd.DataFrame) -> dict[str, float]:
    """Return the validation accuracy by label."""
    rows = baselines[baselines["label"].notna()]
    return dict(zip(rows["label"], rows["accuracy"], strict=True))


def _commonest(answers: Integers) -> int:
    """Return the most frequent of some answers; of several, the one that comes first."""
    values, first, counts = np.unique(answers, return_index=True, return_counts=True)
    return int(values[np.lexsort((first, -counts))[0]])
