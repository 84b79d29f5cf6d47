"""Tables of the inside of models read back as they were written, and refuse what cannot be."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from gpt_math_domains.results.inside import (
    ATTENTION,
    COMPONENTS,
    LENS,
    PROBES,
    SPECTRUM,
    Table,
)

SEED = {"data": 1, "model": 2, "seed": 0}
RUN = {"phase": "finetune", "data": 1, "model": 2, "domain": 1, "protocol": "full", "seed": 0}
ROWS: dict[str, tuple[Table, list[dict[str, Any]]]] = {
    "attention": (
        ATTENTION,
        [
            {
                **SEED,
                **{"layer": 1, "head": 0, "equation": "1 - 2 = - 1", "query": query, "key": 0},
                **{"query_symbol": "-", "key_symbol": "1", "weight": 0.1 + 0.2 * query},
            }
            for query in (1, 2)
        ],
    ),
    "components": (
        COMPONENTS,
        [
            {**SEED, "matrix": "tied", "component": 1, "share": 0.25, "digit": digit}
            | {"coordinate": -1.5e-7 * digit}
            for digit in (0, 1)
        ],
    ),
    "spectrum": (
        SPECTRUM,
        [
            {**SEED, "matrix": "unembedding", "frequency": k, "power": 0.5, "random": 1 / 3}
            for k in (1, 2)
        ],
    ),
    "lens": (
        LENS,
        [
            {**SEED, "layer": layer, "split": "valid", "operation": "add", "modulo": modulo}
            | {"equations": 7, "accuracy": 3 / 7, "probability": 0.1}
            for layer in (0, 1)
            for modulo in (None, 3)
        ],
    ),
    "probes": (
        PROBES,
        [
            {**run, "step": step, "layer": 0, "label": "first_odd"}
            | {"accuracy": 0.75, "train_accuracy": 1.0, "majority": 0.5}
            for step in (0, 8)
            for run in (RUN, RUN | {"phase": "pretrain", "protocol": None})
        ],
    ),
}


@pytest.mark.parametrize(("table", "rows"), ROWS.values(), ids=ROWS.keys())
def test_rows_read_back_exactly(tmp_path: Path, table: Table, rows: list[dict[str, Any]]) -> None:
    path = tmp_path / "table.csv"
    table.write(rows, path)
    found = table.read([path])
    wanted = pd.DataFrame(rows)[list(table.columns)].astype(table.columns)
    pd.testing.assert_frame_equal(found, wanted)
    assert list(table.read([])) == list(table.columns)


@pytest.mark.parametrize(("table", "rows"), ROWS.values(), ids=ROWS.keys())
def test_a_row_that_stands_twice_is_refused(
    tmp_path: Path, table: Table, rows: list[dict[str, Any]]
) -> None:
    path = tmp_path / "table.csv"
    table.write([*rows, rows[0]], path)
    with pytest.raises(ValueError, match=f"table.csv: {table.key[-1]} is .*: each row once"):
        table.read([path])


@pytest.mark.parametrize(
    ("name", "column", "value", "said"),
    [
        ("attention", "weight", 1.5, "weight is 1.5 at .*; allowed: 0 to 1"),
        ("components", "matrix", "third", "matrix is third at .*; allowed: embedding, unembedding"),
        ("spectrum", "power", -0.5, "power is -0.5 at .*; allowed: 0 to 1"),
        ("lens", "split", "test", "split is test at .*; allowed: train, valid"),
        ("lens", "operation", "power", "operation is power at .*; allowed: add, subtract"),
        ("probes", "accuracy", 1.25, "accuracy is 1.25 at .*; allowed: 0 to 1"),
        ("probes", "protocol", "half", "protocol is half at .*; allowed: full, frozen"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(
    tmp_path: Path, name: str, column: str, value: Any, said: str
) -> None:
    table, rows = ROWS[name]
    path = tmp_path / "table.csv"
    table.write([rows[0] | {column: value}, *rows[1:]], path)
    with pytest.raises(ValueError, match=f"table.csv: {said}") as raised:
        table.read([path])
    assert "\n" not in str(raised.value)


def test_other_columns_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    ROWS["lens"][0].write(ROWS["lens"][1], path)
    with pytest.raises(ValueError, match="has the columns"):
        SPECTRUM.read([path])
