"""Metrics as tests need them."""

from pathlib import Path
from typing import Any

import pandas as pd
from hypothesis import strategies as st

from gpt_math_domains.results.baselines import COLUMNS
from gpt_math_domains.results.metrics import write_metrics
from gpt_math_domains.results.tables import typed, write_table
from gpt_math_domains.run import ACCURACY, Evaluation


def row(
    phase: str = "pretrain", seed: Any = 0, step: Any = 41, accuracy: float = 0.5, **other: Any
) -> dict[str, Any]:
    run = {"phase": phase, "data": 1, "model": 2, "domain": None, "protocol": None}
    if phase == "finetune":
        run |= {"domain": 1, "protocol": "full"}
    measured = {
        "epoch": step / 41,
        "learning_rate": 5e-4,
        "train_loss": 1.5,
        "train_eval_loss": 1.375,
        "eval_loss": 1.25,
        ACCURACY[phase]: accuracy,
        f"train_{ACCURACY[phase]}": 0.75,
        f"mirrored_{ACCURACY[phase]}": accuracy,
        f"unmirrored_{ACCURACY[phase]}": accuracy,
        "grad_norm": 0.5,
        "weight_norm": 20.0,
        "seconds": 3.5,
    }
    return run | {"seed": seed, "step": step} | measured | other


def evaluation(step: int, **other: Any) -> Evaluation:
    """Return an evaluation of two seeds and two parts."""
    fields: dict[str, Any] = {
        "train_loss": [1.0, 2.0],
        "train_eval_loss": [1.5, 1.75],
        "eval_loss": [2.5, 3.0],
        "accuracy": [0.25, 0.5],
        "train_accuracy": [0.75, 1.0],
        "mirrored_accuracy": [0.5, 0.5],
        "unmirrored_accuracy": [None, None],
        "grad_norm": [0.5, 0.25],
        "weight_norm": [20.0, 21.0],
        "part_accuracy": [[0.25, 0.5], [0.5, 0.75]],
    }
    told = {"step": step, "epoch": step / 41, "learning_rate": 5e-4, "seconds": 1.0}
    return Evaluation(**told | fields | other)


def curves(*seeds: list[float]) -> list[dict[str, Any]]:
    """Return the rows of one accuracy curve for each seed, at steps 10, 20, 30 ..."""
    return [
        row(seed=seed, step=10 * (i + 1), accuracy=accuracy)
        for seed, curve in enumerate(seeds)
        for i, accuracy in enumerate(curve)
    ]


def table(
    tmp_path: Path,
    rows: list[dict[str, Any]],
    phase: str = "pretrain",
    name: str = "metrics.csv",
) -> Path:
    write_metrics(rows, phase, tmp_path / name)
    return tmp_path / name


def baselines(
    phase: str = "pretrain", accuracy: float = 0.25, data: int = 1, **parts: float
) -> pd.DataFrame:
    """Return the baselines of a data version (and domain version 1), of all and of labels."""
    keys = {"phase": phase, "data": data, "domain": None if phase == "pretrain" else 1}
    rows = [keys | {"label": label, "accuracy": value} for label, value in parts.items()]
    frame = pd.DataFrame([keys | {"accuracy": accuracy}, *rows], columns=list(COLUMNS))
    return typed(frame.fillna({"equations": 560}), COLUMNS)


def family_baselines(accuracies: dict[tuple[str, int | None], float]) -> pd.DataFrame:
    """Return the baselines of the families of data version 1, the same in training."""
    every = baselines()
    rows = every.loc[[0] * len(accuracies)].assign(
        operation=[operation for operation, _ in accuracies],
        modulo=pd.array([modulo for _, modulo in accuracies], dtype="Int64"),
        accuracy=list(accuracies.values()),
        train_accuracy=list(accuracies.values()),
    )
    return typed(pd.concat([every, rows], ignore_index=True), COLUMNS)


def baselines_table(tmp_path: Path, frame: pd.DataFrame, name: str = "baselines.csv") -> Path:
    write_table(frame, tmp_path / name)
    return tmp_path / name


@st.composite
def damaged(draw: st.DrawFn, content: bytes) -> bytes:
    """Return a table's bytes with some of them replaced by junk, or junk alone."""
    start = draw(st.integers(0, len(content)))
    stop = draw(st.integers(start, min(len(content), start + 20)))
    pieces = st.binary(max_size=8) | st.text('0123456789.,-+eE"\n\r infaN', max_size=8).map(
        str.encode
    )
    piece = draw(pieces)
    return draw(st.sampled_from([content[:start] + piece + content[stop:], piece]))
