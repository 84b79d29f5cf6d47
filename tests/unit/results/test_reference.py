import math
from pathlib import Path

import pandas as pd
import pytest

from gpt_math_domains.results.metrics import collect_metrics
from gpt_math_domains.results.reference import compare, compare_reference, read_comparison
from metric_rows import curves, row, table


def reference(*steps: int, accuracy: float = 0.5) -> pd.DataFrame:
    return pd.DataFrame({"model": 2, "step": steps, "math_acc": accuracy})


def test_the_difference_is_told_in_standard_errors_of_one_more_seed() -> None:
    [found] = compare(pd.DataFrame(curves([0.5], [0.6], [0.7])), reference(10)).to_dict("records")
    assert (found["seeds"], found["metric"]) == (3, "math_acc")
    assert found["mean"] == pytest.approx(0.6)
    assert found["difference"] == pytest.approx(0.1)
    assert found["standard_error"] == pytest.approx(0.1 * math.sqrt(4 / 3))
    assert found["standard_errors"] == pytest.approx(0.1 / (0.1 * math.sqrt(4 / 3)))


def test_only_steps_that_both_have_are_compared_and_every_protocol_is() -> None:
    rows = [
        row("finetune", seed=seed, step=step, accuracy=0.5 + seed / 10) | {"protocol": protocol}
        for protocol in ("full", "scratch")
        for seed in (0, 1)
        for step in (1, 2)
    ]
    table = reference(2, 3).rename(columns={"math_acc": "domain_acc"})
    found = compare(pd.DataFrame(rows), table)
    assert found[["protocol", "step"]].to_numpy().tolist() == [["full", 2], ["scratch", 2]]


@pytest.mark.parametrize("seeds", [[[0.75]], [[0.75], [0.75]]])
def test_one_seed_or_equal_seeds_have_a_difference_and_no_standard_error(
    seeds: list[list[float]],
) -> None:
    [found] = compare(pd.DataFrame(curves(*seeds)), reference(10)).to_dict("records")
    assert found["difference"] == 0.25
    assert math.isnan(found["standard_error"]) and math.isnan(found["standard_errors"])


def test_all_named_curves_go_into_one_table_that_reads_back(tmp_path: Path) -> None:
    pretrain = table(tmp_path, curves([0.5, 0.6], [0.7, 0.8]), name="pretrain.csv")
    collect_metrics([], "finetune", tmp_path / "finetune.csv")
    (tmp_path / "published.csv").write_text("model,step,math_acc\n2,20,0.75\n2,99,1\n")
    (tmp_path / "other.csv").write_text("model,step,domain_acc\n2,20,0.75\n")
    references = {
        "pretrain_1": tmp_path / "published.csv",
        "pretrain_3": tmp_path / "published.csv",  # of which the study has no runs
        "finetune_1_pretrain_1": tmp_path / "other.csv",
    }
    output = tmp_path / "reference.csv"
    compare_reference(pretrain, tmp_path / "finetune.csv", references, output)
    [found] = read_comparison(output).to_dict("records")
    assert (found["data"], found["step"], found["reference"]) == (1, 20, 0.75)
    assert found["mean"] == pytest.approx(0.7)


def test_without_common_steps_the_table_has_its_header(tmp_path: Path) -> None:
    for phase in ("pretrain", "finetune"):
        collect_metrics([], phase, tmp_path / f"{phase}.csv")
    output = tmp_path / "reference.csv"
    compare_reference(tmp_path / "pretrain.csv", tmp_path / "finetune.csv", {}, output)
    assert read_comparison(output).empty
    output.write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match=r"reference.csv: has the columns \['a', 'b'\]"):
        read_comparison(output)
