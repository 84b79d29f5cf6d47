import math
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings

from gpt_math_domains.results.grid import collect_grid, grid_keys, read_grid
from gpt_math_domains.results.metrics import collect_metrics, write_metrics
from gpt_math_domains.results.summary import own_runs, read_summary, summarize, summarize_metrics
from metric_rows import curves, damaged, row

KEY = "pretrain.weight_decay"
POINT = f"grid/{KEY}~1/"
OWN, MORE = [[0.2, 0.6], [0.4, 0.95]], [[0.5, 0.4], [0.3, 0.3]]


def write_grid(directory: Path) -> Path:
    """Write the table of a grid of two runs, one of which is the study's own."""
    for name, seeds in (("own", OWN), ("more", MORE)):
        write_metrics(curves(*seeds), "pretrain", directory / f"{name}.csv")
    values: list[dict[str, str | None]] = [{"point": None, KEY: "0.1"}, {"point": POINT, KEY: "1"}]
    inputs = [directory / "own.csv", directory / "more.csv"]
    collect_grid(inputs, values, directory / "grid.csv")
    return directory / "grid.csv"


def test_each_seed_has_a_row_with_the_value_of_the_key_and_what_it_came_to(tmp_path: Path) -> None:
    header, *lines = write_grid(tmp_path).read_text().splitlines()
    assert header == (
        f"phase,data,model,domain,protocol,point,{KEY},seed,metric,steps,final,final_loss,best,"
        "best_step,after_0.5,by_0.5,step_0.5,after_0.9,by_0.9,step_0.9,after_0.99,by_0.99,step_0.99"
    )
    assert lines == [
        "pretrain,1,2,,,,0.1,0,math_acc,20,0.6,1.25,0.6,20,10,20,15.0,20,,,20,,",
        "pretrain,1,2,,,,0.1,1,math_acc,20,0.95,1.25,0.95,20,10,20,15.0,10,20,15.0,20,,",
        f"pretrain,1,2,,,{POINT},1,0,math_acc,20,0.4,1.25,0.5,10,0,10,5.0,20,,,20,,",
        f"pretrain,1,2,,,{POINT},1,1,math_acc,20,0.3,1.25,0.3,10,20,,,20,,,20,,",
    ]
    assert grid_keys(read_grid(tmp_path / "grid.csv")) == [KEY]


def test_metrics_of_two_runs_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "two.csv"
    write_metrics([row(model=model) for model in (2, 4)], "pretrain", path)
    with pytest.raises(ValueError, match=r"two\.csv: expected the metrics of one run"):
        collect_grid([path], [{"point": None, KEY: "1"}], tmp_path / "grid.csv")
    assert not (tmp_path / "grid.csv").exists()


def summaries(directory: Path) -> tuple[Path, Path]:
    """Write the summary of the study without, and with its grid."""
    grid = write_grid(directory)
    collect_metrics([directory / "own.csv"], "pretrain", directory / "pretrain.csv")
    collect_metrics([], "finetune", directory / "finetune.csv")
    both = directory / "pretrain.csv", directory / "finetune.csv"
    run = {"phase": "pretrain", "data": 1, "model": 2, "domain": None, "protocol": None}
    summarize_metrics(*both, [], directory / "without.csv")
    summarize_metrics(*both, [], directory / "with.csv", grid, [run | {KEY: "0.1"}])
    return directory / "without.csv", directory / "with.csv"


def test_the_summary_has_the_points_after_the_studys_own_runs(tmp_path: Path) -> None:
    without, including = summaries(tmp_path)
    own, more = read_summary(including).to_dict("records")
    [alone] = summarize([pd.DataFrame(curves(*MORE))]).to_dict("records")
    assert (pd.isna(own["point"]), own[KEY]) == (True, "0.1")
    assert (more["point"], more[KEY], more["metric"]) == (POINT, "1", "math_acc")
    for name, value in alone.items():
        assert more[name] == value or (pd.isna(value) and pd.isna(more[name])), name
    # What is of the study alone is as it was, to the byte.
    kept = own_runs(read_summary(including)).to_csv(index=False)
    assert kept == read_summary(without).to_csv(index=False) == without.read_text()


def test_a_threshold_counts_the_seeds_that_got_there_at_each_point(tmp_path: Path) -> None:
    _, including = summaries(tmp_path)
    own, more = read_summary(including).to_dict("records")
    assert (own["reached_0.5"], own["reached_0.9"], more["reached_0.5"]) == (2, 1, 1)
    assert own["step_0.5_mean"] == 15 and math.isnan(more["step_0.5_mean"])


def test_the_steps_of_seeds_are_those_whose_mean_the_summary_has(tmp_path: Path) -> None:
    _, including = summaries(tmp_path)
    own, _ = read_summary(including).to_dict("records")
    grid = read_grid(tmp_path / "grid.csv")
    seeds = grid[grid["point"].isna()]
    assert seeds["step_0.5"].mean() == own["step_0.5_mean"]


def test_a_key_that_does_not_concern_a_run_is_missing(tmp_path: Path) -> None:
    write_metrics(curves([0.5]), "pretrain", tmp_path / "m.csv")
    told: dict[str, str | None] = {"point": None, KEY: "1", "finetune.shuffle": None}
    collect_grid([tmp_path / "m.csv"], [told], tmp_path / "grid.csv")
    table = read_grid(tmp_path / "grid.csv")
    assert grid_keys(table) == [KEY, "finetune.shuffle"]
    assert table["finetune.shuffle"].isna().all()


TABLE = (
    b"phase,data,model,domain,protocol,point,a.b,seed,metric,steps,final,final_loss,best,"
    b"best_step,after_0.5,by_0.5,step_0.5,after_0.9,by_0.9,step_0.9,after_0.99,by_0.99,step_0.99\n"
    b"pretrain,1,2,,,grid/a.b~1/,1,0,math_acc,20,0.4,1.25,0.5,10,0,10,5.0,20,,,20,,\n"
)


@settings(max_examples=150, deadline=None)
@given(content=damaged(TABLE))
def test_a_damaged_table_is_read_or_refused_in_one_line(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.mktemp("damaged") / "grid.csv"
    path.write_bytes(content)
    try:
        table = read_grid(path)
    except ValueError as error:
        assert str(error).startswith(f"{path}: ")
        assert len(str(error).splitlines()) == 1
    else:
        assert table["final"].dropna().between(0, 1).all()


def test_columns_that_are_none_of_a_grid_are_named(tmp_path: Path) -> None:
    path = tmp_path / "grid.csv"
    path.write_text("phase,seed\npretrain,0\n")
    with pytest.raises(ValueError, match=r"grid\.csv: has the columns \['phase', 'seed'\]"):
        read_grid(path)
