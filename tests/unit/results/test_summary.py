import math
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings

from gpt_math_domains.results.baselines import COLUMNS
from gpt_math_domains.results.findings import saved_steps
from gpt_math_domains.results.metrics import collect_metrics
from gpt_math_domains.results.summary import read_summary, summarize, summarize_metrics
from gpt_math_domains.results.tables import typed
from metric_rows import curves, damaged, row, table

T_2 = 4.302652729911275  # 97.5% quantile of Student's t with 2 degrees of freedom, from tables


def test_the_summary_of_three_seeds_is_what_one_works_out_by_hand() -> None:
    rows = curves([0.2, 0.5, 0.9, 0.6], [0.6, 0.7, 0.7, 0.7], [0.4, 0.95, 0.95, 0.8])
    [found] = summarize([pd.DataFrame(rows)]).to_dict("records")
    assert (found["phase"], found["data"], found["model"]) == ("pretrain", 1, 2)
    assert (found["metric"], found["seeds"], found["steps"]) == ("math_acc", 3, 40)
    assert found["final_mean"] == pytest.approx(0.7)
    assert found["final_low"] == pytest.approx(0.7 - T_2 * 0.1 / math.sqrt(3))
    assert found["final_high"] == pytest.approx(0.7 + T_2 * 0.1 / math.sqrt(3))
    assert found["reached_0.5"] == 3
    # In (10, 20], (0, 10] and (10, 20]: the variance over seeds is 100 / 3, that between two
    # evaluations 100 / 12.
    assert found["step_0.5_mean"] == pytest.approx((15 + 5 + 15) / 3)
    half = T_2 * math.sqrt((100 / 3 + 100 / 12) / 3)
    assert found["step_0.5_high"] == pytest.approx((15 + 5 + 15) / 3 + half)
    assert found["step_0.5_low"] == 0  # cut off


def test_the_steps_of_the_summary_are_those_whose_difference_is_told() -> None:
    runs = [[0.2, 0.95, 0.95], [0.3, 0.4, 0.95]], [[0.95, 0.95, 0.95], [0.3, 0.95, 0.95]]
    first, second = (summarize([pd.DataFrame(curves(*seeds))]).iloc[0] for seeds in runs)
    by_step = [pd.DataFrame(dict(enumerate(seeds)), index=[10, 20, 30]) for seeds in runs]
    saved = saved_steps(by_step[1], by_step[0], 0.9)
    assert saved is not None
    assert saved.mean == first["step_0.9_mean"] - second["step_0.9_mean"] == 10


def test_the_baseline_of_a_run_is_that_of_its_data_version(tmp_path: Path) -> None:
    baselines = typed(
        pd.DataFrame(
            [
                {"phase": "pretrain", "data": data, "operation": operation, "accuracy": accuracy}
                for data, operation, accuracy in ((1, None, 0.25), (1, "add", 0.5), (3, None, 0.75))
            ],
            columns=list(COLUMNS),
        ).fillna({"equations": 1}),
        COLUMNS,
    )
    summary = summarize([pd.DataFrame([row(data=1), row(data=3), row(data=5)])], baselines)
    assert summary["baseline"].tolist()[:2] == [0.25, 0.75]
    assert math.isnan(summary["baseline"][2])


def test_a_threshold_that_a_seed_never_reached_has_a_count_and_no_mean() -> None:
    rows = curves([0.2, 0.9], [0.6, 0.7], [0.4, 0.95])
    [found] = summarize([pd.DataFrame(rows)]).to_dict("records")
    assert (found["reached_0.5"], found["reached_0.9"], found["reached_0.99"]) == (3, 2, 0)
    for part in ("mean", "low", "high"):
        assert math.isnan(found[f"step_0.9_{part}"])
        assert math.isnan(found[f"step_0.99_{part}"])


def test_one_seed_has_means_and_no_intervals(tmp_path: Path) -> None:
    pretrain = table(tmp_path, curves([0.25, 0.5, 0.5]), name="pretrain.csv")
    collect_metrics([], "finetune", tmp_path / "finetune.csv")
    summarize_metrics(pretrain, tmp_path / "finetune.csv", [], tmp_path / "summary.csv")
    header, line = (tmp_path / "summary.csv").read_text().splitlines()
    found = dict(zip(header.split(","), line.split(","), strict=True))
    assert {name: value for name, value in found.items() if value} == {
        "phase": "pretrain",
        "data": "1",
        "model": "2",
        "metric": "math_acc",
        "seeds": "1",
        "steps": "30",
        "final_mean": "0.5",
        "reached_0.5": "1",
        "step_0.5_mean": "15.0",
        "step_0.5_low": "10.0",
        "step_0.5_high": "20.0",
        "reached_0.9": "0",
        "reached_0.99": "0",
    }
    assert list(found) == [
        *("phase", "data", "model", "domain", "protocol", "metric", "seeds", "steps"),
        *("final_mean", "final_low", "final_high", "baseline"),
        *("reached_0.5", "step_0.5_mean", "step_0.5_low", "step_0.5_high"),
        *("reached_0.9", "step_0.9_mean", "step_0.9_low", "step_0.9_high"),
        *("reached_0.99", "step_0.99_mean", "step_0.99_low", "step_0.99_high"),
    ]


def test_the_summary_has_a_row_for_each_run_of_both_phases(tmp_path: Path) -> None:
    pretrain = [row(model=model) for model in (2, 4)]
    finetune = [row("finetune", protocol=protocol) for protocol in ("full", "frozen")]
    paths = table(tmp_path, pretrain, name="p"), table(tmp_path, finetune, "finetune", "f")
    summarize_metrics(*paths, [], tmp_path / "summary.csv")
    summary = read_summary(tmp_path / "summary.csv")
    assert summary["metric"].tolist() == ["math_acc"] * 2 + ["domain_acc"] * 2
    assert summary["model"].tolist() == [2, 4, 2, 2]
    assert summary["protocol"].fillna("").tolist() == ["", "", "frozen", "full"]


def test_a_study_without_runs_has_a_summary_without_rows(tmp_path: Path) -> None:
    collect_metrics([], "pretrain", tmp_path / "p.csv")
    collect_metrics([], "finetune", tmp_path / "f.csv")
    summarize_metrics(tmp_path / "p.csv", tmp_path / "f.csv", [], tmp_path / "summary.csv")
    assert read_summary(tmp_path / "summary.csv").empty


SUMMARY = summarize([pd.DataFrame(curves([0.2, 0.5], [0.6, 0.7]))]).to_csv(index=False).encode()


@settings(max_examples=200, deadline=None)
@given(content=damaged(SUMMARY))
def test_a_damaged_summary_is_read_or_refused_in_one_line(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.mktemp("damaged") / "summary.csv"
    path.write_bytes(content)
    try:
        summary = read_summary(path)
    except ValueError as error:
        assert str(error).startswith(f"{path}: ")
        assert len(str(error).splitlines()) == 1
    else:
        assert summary["steps"].ge(0).all()


def test_an_interval_ends_where_values_do() -> None:
    [found] = summarize([pd.DataFrame(curves([0.1, 1.0], [0.9, 0.9]))]).to_dict("records")
    assert found["final_high"] == 1.0 and found["final_low"] < found["final_mean"]
    assert (found["step_0.9_low"], found["step_0.9_high"]) == (0.0, 20.0)
