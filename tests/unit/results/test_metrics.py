import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt_math_domains.results.metrics import (
    collect_metrics,
    columns,
    read_metrics,
    write_metrics,
)
from metric_rows import damaged, row, table

HEADER = (
    "phase,data,model,domain,protocol,seed,step,epoch,learning_rate,"
    "train_loss,train_eval_loss,eval_loss,math_acc,train_math_acc,mirrored_math_acc,"
    "unmirrored_math_acc,grad_norm,weight_norm,seconds"
)
LINE = "pretrain,1,2,,,0,41,1.0,0.0005,1.5,1.375,1.25,0.5,0.75,0.5,0.5,0.5,20.0,3.5"


def test_the_columns_of_a_phase_name_its_accuracy() -> None:
    assert ",".join(columns("pretrain")) == HEADER
    assert ",".join(columns("finetune")) == HEADER.replace("math_acc", "domain_acc")
    with pytest.raises(ValueError, match="phase 'evaluate': allowed are pretrain, finetune"):
        columns("evaluate")


def test_a_run_is_written_as_one_row_per_seed_and_step_in_order(tmp_path: Path) -> None:
    rows = [row(seed=1, step=82), row(seed=0, step=82), row(seed=1), row(seed=0)]
    lines = table(tmp_path, rows).read_text().splitlines()
    assert lines[:2] == [HEADER, LINE]
    assert [line.split(",")[5:7] for line in lines[1:]] == [
        ["0", "41"],
        ["0", "82"],
        ["1", "41"],
        ["1", "82"],
    ]


def test_a_finetuning_run_keeps_its_domain_and_protocol(tmp_path: Path) -> None:
    metrics = read_metrics(table(tmp_path, [row("finetune")], "finetune"))
    assert metrics[["domain", "protocol", "domain_acc"]].to_numpy().tolist() == [[1, "full", 0.5]]


def test_columns_read_back_with_their_types(tmp_path: Path) -> None:
    metrics = read_metrics(table(tmp_path, [row()]))
    types = metrics.dtypes.astype(str).to_dict()
    integers = {name for name, dtype in types.items() if dtype == "int64"}
    assert integers == {"data", "model", "seed", "step"}
    assert (types["domain"], types["phase"], types["protocol"]) == ("Int64", "string", "string")
    assert metrics["domain"].isna().all()
    assert metrics["protocol"].isna().all()


@settings(max_examples=30, deadline=None)
@given(
    st.dictionaries(
        st.integers(0, 10**18 - 1),
        st.tuples(st.floats(0, 1), st.floats(), st.floats(0, allow_infinity=False)),
        min_size=1,
        max_size=30,
    )
)
def test_every_float_and_step_reads_back_exactly(
    tmp_path_factory: pytest.TempPathFactory, values: dict[int, tuple[float, float, float]]
) -> None:
    path = tmp_path_factory.mktemp("exact") / "metrics.csv"
    rows = [
        row(step=step, accuracy=accuracy, eval_loss=loss, learning_rate=rate)
        for step, (accuracy, loss, rate) in values.items()
    ]
    write_metrics(rows, "pretrain", path)
    for found in read_metrics(path).to_dict("records"):
        accuracy, loss, rate = values[found["step"]]
        assert (found["math_acc"], found["learning_rate"]) == (accuracy, rate)
        assert found["eval_loss"] == loss or (math.isnan(loss) and math.isnan(found["eval_loss"]))
    assert len(read_metrics(path)) == len(values)


@pytest.mark.parametrize("phase", ["pretrain", "finetune"])
def test_a_table_that_another_program_wrote_with_quotes_reads_the_same(
    tmp_path: Path, phase: str
) -> None:
    rows = [row(phase, seed, step) for step in (1, 41) for seed in (0, 3)]
    path = table(tmp_path, rows, phase)
    plain = read_metrics(path)
    path.write_text(path.read_text().replace(f"{phase},", f'"{phase}",'))
    pd.testing.assert_frame_equal(read_metrics(path), plain)


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        ([], "no rows"),
        ([{"step": 1}], "has the keys"),
        ([row() | {"math_accuracy": 0.5}], "has the keys"),
        ([row(step=1.5)], "step is 1.5 .* allowed: a whole number"),
        ([row(seed="first")], "seed is first .* allowed: a whole number"),
        ([row(data=None)], "data is empty .* allowed: a whole number"),
        ([row(eval_loss="low")], "eval_loss is low .* allowed: a number"),
        ([row(accuracy=1.5)], "math_acc is 1.5 .* allowed: 0 to 1"),
        ([row(accuracy=math.nan)], "math_acc is empty .* allowed: 0 to 1"),
        ([row(seconds=math.inf)], "seconds is inf .* allowed: a number from 0"),
        ([row(domain=1)], "domain is 1 .* allowed: empty"),
        ([row(), row()], "step is 41 .* each step once"),
        ([row(step=1), row(seed=1, step=2)], "step is 1 .* the same steps"),
    ],
)
def test_rows_that_make_no_table_are_refused_and_nothing_is_written(
    tmp_path: Path, rows: list[dict[str, Any]], problem: str
) -> None:
    path = tmp_path / "metrics.csv"
    with pytest.raises(ValueError, match=problem) as error:
        write_metrics(rows, "pretrain", path)
    assert str(error.value).startswith(f"{path}: ")
    assert len(str(error.value).splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("", "No columns"),
        ("a,b\n1,2\n", r"has the columns \['a', 'b'\]; allowed are .*domain_acc"),
        (HEADER.replace("seed,step", "step,seed"), "has the columns"),
        (f"{HEADER}\n{LINE},7\n{LINE},7\n", "more fields"),
        (f"{HEADER}\n{LINE}\n{LINE},7\n", "Expected 19 fields in line 3, saw 20"),
        (f"{HEADER}\npretrain,1,2\n", "seed is empty .* allowed: a whole number"),
        (f"{HEADER}\n{LINE}".replace(",41,", ",4.5,"), "step is 4.5 .* a whole number"),
        (f"{HEADER}\n{LINE}".replace(",41,", ",many,"), "step is many .* a whole number"),
        (f"{HEADER}\n{LINE}".replace(",41,", ",-1,"), "step is -1 .* a whole number"),
        (f"{HEADER}\n{LINE}".replace(",41,", f",{10**30},"), "step is 10.* a whole number"),
        (f"{HEADER}\n{LINE}".replace(",0.5,", ",half,"), "math_acc is half .* a number"),
        (f"{HEADER}\n{LINE}".replace(",0.5,", ",50,"), "math_acc is 50.* 0 to 1"),
        (f"{HEADER}\n{LINE}".replace(",0.5,", ",,"), "math_acc is empty .* 0 to 1"),
        (f"{HEADER}\n{LINE}".replace("pretrain,", "finetune,"), "phase is finetune"),
        (f"{HEADER}\n{LINE}".replace("pretrain,", ","), "phase is empty"),
        (f"{HEADER}\n{LINE}\n{LINE}\n", "each step once"),
        (f"{HEADER}\n{LINE}\n{LINE.replace(',0,41', ',1,82')}\n", "the same steps"),
        (f"{HEADER}\n{LINE}\xff\n", "utf-8"),
        (f'{HEADER}\n"{LINE}\n', "EOF inside string"),
    ],
)
def test_a_malformed_table_is_refused_in_one_line_that_names_it(
    tmp_path: Path, content: str, problem: str
) -> None:
    path = tmp_path / "metrics.csv"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(ValueError, match=problem) as error:
        read_metrics(path)
    assert str(error.value).startswith(f"{path}: ")
    assert len(str(error.value).splitlines()) == 1


@settings(max_examples=300, deadline=None)
@given(content=damaged(f"{HEADER}\n{LINE}\n{LINE.replace(',41,', ',82,')}\n".encode()))
def test_a_damaged_table_is_read_or_refused_with_a_value_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.mktemp("damaged") / "metrics.csv"
    path.write_bytes(content)
    try:
        metrics = read_metrics(path)
    except ValueError as error:
        assert str(error).startswith(f"{path}: ")
        assert len(str(error).splitlines()) == 1
    else:
        assert metrics["math_acc"].between(0, 1).all()


def test_collecting_sorts_all_runs_into_one_table(tmp_path: Path) -> None:
    paths = [
        table(
            tmp_path,
            [row("finetune", data=data, model=model, protocol=protocol)],
            "finetune",
            f"{data}{model}{protocol}.csv",
        )
        for protocol in ("scratch", "full")
        for model in (10, 2)
        for data in (3, 1)
    ]
    collect_metrics(paths, "finetune", tmp_path / "finetune.csv")
    metrics = read_metrics(tmp_path / "finetune.csv")
    runs = list(metrics[["data", "model", "protocol"]].itertuples(index=False, name=None))
    assert runs == [(d, m, p) for d in (1, 3) for m in (2, 10) for p in ("full", "scratch")]


def test_collecting_no_runs_leaves_the_header(tmp_path: Path) -> None:
    collect_metrics([], "pretrain", tmp_path / "pretrain.csv")
    assert (tmp_path / "pretrain.csv").read_text() == HEADER + "\n"
    assert read_metrics(tmp_path / "pretrain.csv").empty


def test_collecting_keeps_every_digit(tmp_path: Path) -> None:
    path = table(tmp_path, [row(accuracy=0.1 + 0.2, eval_loss=5e-324, train_loss=math.inf)])
    collect_metrics([path], "pretrain", tmp_path / "all.csv")
    assert (tmp_path / "all.csv").read_bytes() == path.read_bytes()


def test_collecting_refuses_other_phases_empty_runs_and_repeated_runs(tmp_path: Path) -> None:
    pretrain = table(tmp_path, [row()])
    finetune = table(tmp_path, [row("finetune")], "finetune", "finetune.csv")
    (tmp_path / "empty.csv").write_text(HEADER + "\n")
    with pytest.raises(ValueError, match=r"finetune.csv: has no rows of phase 'pretrain'"):
        collect_metrics([pretrain, finetune], "pretrain", tmp_path / "all.csv")
    with pytest.raises(ValueError, match=r"empty.csv: has no rows"):
        collect_metrics([tmp_path / "empty.csv"], "pretrain", tmp_path / "all.csv")
    with pytest.raises(ValueError, match="each step once"):
        collect_metrics([pretrain, pretrain], "pretrain", tmp_path / "all.csv")


def test_training_imports_this_module_without_the_weight_of_figures() -> None:
    code = (
        "import sys, gpt_math_domains.results.metrics; "
        "print({'torch', 'plotly', 'scipy', 'jinja2'} & set(sys.modules))"
    )
    source = Path(__file__).parents[3] / "workflow/scripts"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=source, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("pretrain/data_3/model_2", "data is 1 at .*; allowed: 3, by its place"),
        ("pretrain/data_1/model_4", "model is 2 at .*; allowed: 4, by its place"),
        ("grid/data.digits~5/pretrain/data_1/model_4", "model is 2 at .*; allowed: 4"),
        ("finetune/domain_1/data_1/model_2/full", "phase is pretrain at .*; allowed: finetune"),
    ],
)
def test_a_table_in_the_place_of_another_run_is_refused(
    tmp_path: Path, place: str, said: str
) -> None:
    path = tmp_path / place / "metrics.csv"
    write_metrics([row()], "pretrain", path)
    with pytest.raises(ValueError, match=rf"^.*metrics\.csv: {said}"):
        read_metrics(path)
    own = tmp_path / "pretrain" / "data_1" / "model_2" / "metrics.csv"
    write_metrics([row()], "pretrain", own)
    assert len(read_metrics(own)) == 1
