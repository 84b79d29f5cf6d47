"""The figures of docs/reproduction draw what its tables hold."""

from pathlib import Path

import pandas as pd
import pytest

from gpt_math_domains.figures.reproduction import (
    orders_figure,
    reproduction_figure,
    trials_figure,
)
from gpt_math_domains.results.metrics import read_metrics
from gpt_math_domains.run import ACCURACY

DIRECTORY = Path(__file__).parents[3] / "docs" / "reproduction"
TABLES = sorted(
    table for phase in ACCURACY for table in DIRECTORY.glob(f"data_[13]_model_[0-9]/{phase}.csv")
)


@pytest.mark.parametrize("table", TABLES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_each_table_is_drawn_with_what_points_were_published_behind_it(table: Path) -> None:
    metrics = read_metrics(table)
    data = metrics["data"].iloc[0]
    figure = reproduction_figure(DIRECTORY, table.stem, data)
    drawn = [trace for trace in figure.data if trace.mode == "lines+markers" and trace.x[0]]
    ends = [(trace.x[-1], pytest.approx(trace.y[-1])) for trace in drawn]
    last = metrics[metrics["step"] == metrics["step"].max()]
    for _, seeds in last.fillna({"protocol": ""}).groupby("protocol"):
        assert (seeds["step"].iloc[0], seeds[ACCURACY[table.stem]].mean()) in ends
    published = f"reference of model {metrics['model'].iloc[0]}" in [trace.name for trace in drawn]
    assert published == (data == 1)


def test_four_orders_are_drawn_for_each_data_version() -> None:
    tables = {
        "in file order": "data_{data}_model_2/pretrain.csv",
        "in a new order each epoch": "data_{data}_model_2_shuffled/pretrain.csv",
        "shuffled once": "orders/shuffled_once_data_{data}.csv",
        "by operation, then modulus": "orders/by_operation_data_{data}.csv",
    }
    lines = [trace for trace in orders_figure(DIRECTORY).data if trace.mode == "lines+markers"]
    assert len(lines) == 8
    for line in lines:
        data = {"x": 1, "x2": 3}[line.xaxis]
        table = pd.read_csv(DIRECTORY / tables[line.name].format(data=data))
        means = table.groupby("step")["math_acc"].mean().loc[: line.x[-1]]
        assert line.y == pytest.approx(means.to_numpy())


def test_a_way_of_finetuning_that_was_tried_is_drawn_beside_the_published_points() -> None:
    lines = [trace for trace in trials_figure(DIRECTORY).data if trace.mode == "lines+markers"]
    assert len(lines) == 4
    points = pd.read_csv(DIRECTORY / "published_finetune_1_pretrain_1.csv")
    for line in lines:
        model = {"x": 2, "x2": 4}[line.xaxis]
        table = pd.read_csv(DIRECTORY / f"trials/aligned_model_{model}.csv")
        if line.name == "published":
            table = points[(points["model"] == model) & (points["step"] <= table["step"].max())]
        assert line.y == pytest.approx(table.groupby("step")["domain_acc"].mean().to_numpy())
