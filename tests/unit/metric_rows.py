"""Metrics as tests need them."""

from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from gpt_math_domains.results.metrics import write_metrics
from gpt_math_domains.run import ACCURACY


def row(
    phase: str = "pretrain", seed: Any = 0, step: Any = 41, accuracy: float = 0.5, **other: Any
) -> dict[str, Any]:
    run = {"phase": phase, "data": 1, "model": 2, "domain": None, "protocol": None}
    if phase == "finetune":
        run |= {"domain": 1, "protocol": "full"}
    measures = {"epoch": step / 41, "learning_rate": 5e-4, "train_loss": 1.5, "eval_loss": 1.25}
    return (
        run
        | {"seed": seed, "step": step}
        | measures
        | {ACCURACY[phase]: accuracy, "seconds": 3.5}
        | other
    )


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
