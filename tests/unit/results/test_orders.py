"""What docs/reproduction/orders.py trains on is in the order that it names."""

import runpy
import subprocess
import sys
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from gpt_math_domains.data.equations import generate_equations
from gpt_math_domains.data.families import Parts, parts_of
from gpt_math_domains.data.settings import DataSettings
from gpt_math_domains.data.tables import read_equations
from gpt_math_domains.data.vocabulary import read_vocabulary

DIRECTORY = Path(__file__).parents[3] / "docs" / "reproduction"
OPERATIONS = ["add", "subtract", "multiply", "divide"]
MODULI = [0, 2, 3, 4, 5]


@pytest.fixture
def orders(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(DIRECTORY)  # where it finds trials.py
    return runpy.run_path(str(DIRECTORY / "orders.py"))["ORDERS"]


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Parts:
    """Of the training equations of data version 1."""
    directory = tmp_path_factory.mktemp("data")
    files = {name: directory / name for name in ("train", "valid", "vocabulary", "manifest")}
    generate_equations(DataSettings(10, 5), **files)
    return parts_of(read_equations(files["train"]), read_vocabulary(files["vocabulary"]))


@pytest.mark.parametrize(
    ("order", "families"),
    [
        ("file", [(o, m) for m in MODULI for o in OPERATIONS]),
        ("by_operation", [(o, m) for o in OPERATIONS for m in MODULI]),
        ("moduli_descending", [(o, m) for m in MODULI[::-1] for o in OPERATIONS]),
        (
            "multiply_second",
            [(o, m) for m in MODULI for o in ("add", "multiply", "subtract", "divide")],
        ),
    ],
)
def test_families_stand_in_the_order_that_is_named(
    orders: Any, parts: Parts, order: str, families: list[tuple[str, int]]
) -> None:
    rows = orders[order](parts)
    assert sorted(rows) == list(range(len(parts)))
    told = zip(parts.operation[rows].tolist(), parts.modulo[rows].tolist(), strict=True)
    assert [family for family, _ in groupby(told)] == families
    for family in families:  # and equations within each as in the file
        there = (parts.operation[rows] == family[0]) & (parts.modulo[rows] == family[1])
        assert (np.diff(rows[there]) > 0).all()


def test_what_is_shuffled_once_is_the_same_each_time(orders: Any, parts: Parts) -> None:
    rows = orders["shuffled_once"](parts)
    assert sorted(rows) == list(range(len(parts)))
    assert rows.tolist() == orders["shuffled_once"](parts).tolist()
    told = list(zip(parts.operation[rows].tolist(), parts.modulo[rows].tolist(), strict=True))
    batches = [set(told[start : start + 32]) for start in range(0, len(told), 32)]
    assert min(map(len, batches[:-1])) > 5


def test_file_order_trains_as_the_study_does(tmp_path: Path) -> None:
    command = [sys.executable, str(DIRECTORY / "orders.py"), "file", "--steps", "1000"]
    subprocess.run([*command, "--seeds", "1", "--output", str(tmp_path)], check=True)
    [found] = pd.read_csv(tmp_path / "file_data_1.csv").to_dict("records")
    study = pd.read_csv(DIRECTORY / "data_1_model_2/pretrain.csv").set_index(["seed", "step"])
    assert (found["step"], found["seed"]) == (1000, 0)
    # Other processors round otherwise, and a thousand steps make that a few equations of 560.
    assert found["math_acc"] == pytest.approx(study["math_acc"][0, 1000], abs=0.03)
    assert found["eval_loss"] == pytest.approx(study["eval_loss"][0, 1000], abs=0.01)
