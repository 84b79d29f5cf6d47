import math
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go
import pytest

from gpt_math_domains.figures.answers import ALL, operand_heatmap, operation_heatmap, plot_answers
from gpt_math_domains.results.answers import read_answers, write_answers
from metric_rows import baselines_table, family_baselines


def answers(models: tuple[int, ...] = (2, 4), seeds: tuple[int, ...] = (0, 1)) -> pd.DataFrame:
    """Return answers in which seed 0 is right where a > b, and seed 1 always."""
    return pd.DataFrame(
        {
            "data": 1,
            "model": model,
            "seed": seed,
            "split": "train" if (a + b) % 3 else "valid",
            "operation": operation,
            "modulo": modulo,
            "a": a,
            "b": b,
            "right": int(seed == 1 or a > b),
            "answer": str(a),
            "probability": 0.5,
        }
        for model in models
        for seed in seeds
        for operation in ("add", "subtract")
        for modulo in (None, 2)
        for a in range(4)
        for b in range(4)
    ).astype({"modulo": "Int64"})


def shown(figure: go.Figure) -> list[go.Heatmap]:
    return [trace for trace in figure.data if trace.visible is not False]


def test_a_cell_by_operation_and_modulus_is_the_share_over_equations_and_seeds() -> None:
    table = answers()
    figure = operation_heatmap(table, "title")
    assert len(figure.data) == 4  # two models, training and validation
    first = figure.data[0]
    assert first.x == ("none", "2")
    assert first.y == ("add", "subtract", "multiply", "divide")
    own = table[(table["model"] == 2) & (table["split"] == "train")]
    cell = own[(own["operation"] == "subtract") & (own["modulo"] == 2)]
    assert first.z[1][1] == pytest.approx(cell["right"].mean())
    assert first.customdata[1][1][0] == len(cell)
    assert all(math.isnan(value) for value in first.z[2])  # no such operation here


def test_a_menu_chooses_how_far_the_accuracy_lies_above_the_baseline() -> None:
    table = answers(models=(2,))
    known = family_baselines({("add", None): 0.25, ("subtract", 2): 0.75})
    figure = operation_heatmap(table, "title", known)
    [menu] = figure.layout.updatemenus
    assert [button.label for button in menu.buttons] == ["accuracy", "accuracy minus baseline"]
    assert menu.buttons[1].args[0]["visible"] == [False, False, True, True]
    accuracy, _, above, _ = figure.data
    for row, column, baseline in ((0, 0, 0.25), (1, 1, 0.75)):
        assert above.z[row][column] == pytest.approx(accuracy.z[row][column] - baseline)
        assert above.customdata[row][column][2] == baseline
    assert math.isnan(above.z[0][1])  # whose baseline nobody knows
    assert (figure.layout.coloraxis2.cmin, figure.layout.coloraxis2.cmax) == (-1, 1)


def test_a_version_without_equations_without_a_modulus_has_no_column_for_them() -> None:
    table = answers()
    figure = operation_heatmap(table[table["modulo"] == 2], "title")
    assert {trace.x for trace in figure.data} == {("2",)}


def test_training_and_validation_stand_beside_each_other_for_each_model() -> None:
    figure = operation_heatmap(answers(), "title")
    titles = [annotation.text for annotation in figure.layout.annotations]
    assert titles == ["training", "validation", "model 2", "model 4"]


def test_a_cell_by_operands_is_one_pair_and_blank_where_the_split_has_none() -> None:
    figure = operand_heatmap(answers(), "title")
    train, valid, *_ = shown(figure)
    assert train.z[1][3] == pytest.approx(0.5)  # a = 1, b = 3: seed 1 alone is right
    assert train.z[3][1] == 1.0
    assert math.isnan(train.z[0][0]) and not math.isnan(valid.z[0][0])
    for a in range(4):
        for b in range(4):
            assert math.isnan(train.z[a][b]) != math.isnan(valid.z[a][b])
    assert not any(axis.showgrid for axis in figure.select_xaxes())  # nothing shines through


def test_a_menu_chooses_one_operation() -> None:
    figure = operand_heatmap(answers(models=(2,)), "title")
    [menu] = figure.layout.updatemenus
    assert [button.label for button in menu.buttons] == [
        *(ALL, "add", "subtract", "multiply", "divide")
    ]
    for number, button in enumerate(menu.buttons):
        visible = button.args[0]["visible"]
        assert [place for place, on in enumerate(visible) if on] == [2 * number, 2 * number + 1]


def test_a_menu_chooses_how_far_pairs_lie_above_what_the_most_frequent_answer_has() -> None:
    known = family_baselines({("add", None): 0.25, ("add", 2): 0.5, ("subtract", 2): 0.5})
    known.loc[known["operation"].notna(), "answer"] = ["3", "1", "0"]
    table = answers(models=(2,))
    figure = operand_heatmap(table[table["operation"] == "add"], "title", known)
    [menu] = figure.layout.updatemenus
    operations = [ALL, "add", "subtract", "multiply", "divide"]
    assert [button.label for button in menu.buttons] == [
        *operations,
        *(f"{operation}, accuracy minus baseline" for operation in operations),
    ]
    train, *_ = shown(figure)
    above = figure.data[[*menu.buttons[5].args[0]["visible"]].index(True)]
    # Of 1 + 3 = 4 and, modulo 2, 0, neither "3" nor "1" is right; of 1 + 0, "1" is, but not "3";
    # of 1 + 2, both.
    assert train.customdata[1][3][2] == 0 and train.customdata[1][0][2] == 0.5
    assert above.z[1][3] == train.z[1][3] and above.z[1][0] == train.z[1][0] - 0.5
    valid = shown(figure)[1]
    assert valid.customdata[1][2][2] == 1
    assert (above.coloraxis, figure.layout.coloraxis2.cmin) == ("coloraxis2", -1)


def test_many_operands_share_cells() -> None:
    table = pd.DataFrame(
        {
            "data": 1, "model": 2, "seed": 0, "split": "train", "operation": "add",
            "modulo": pd.NA, "a": range(130), "b": range(130), "right": [0, 1] * 65,
        }
    ).astype({"modulo": "Int64"})  # fmt: skip
    first = operand_heatmap(table, "title").data[0]
    assert (len(first.x), first.x[1]) == (44, 3)
    assert first.customdata[0][0][0] == 3
    assert first.z[0][0] == pytest.approx(1 / 3)


def test_answers_read_back_and_make_two_pages(tmp_path: Path) -> None:
    for model in (2, 4):
        write_answers(answers(models=(model,)), tmp_path / f"{model}.csv")
    inputs = [tmp_path / "2.csv", tmp_path / "4.csv"]
    pd.testing.assert_frame_equal(read_answers(inputs), answers(), check_dtype=False)
    pages = {name: tmp_path / f"{name}.html" for name in ("operations", "operands")}
    known = baselines_table(tmp_path, family_baselines({("add", None): 0.25}))
    plot_answers(inputs, 1, baselines=known, **pages)
    first = {name: page.read_bytes() for name, page in pages.items()}
    plot_answers(inputs, 1, baselines=known, **pages)
    assert {name: page.read_bytes() for name, page in pages.items()} == first
    with pytest.raises(ValueError, match=r"data versions \[1\]; the figure is of 3"):
        plot_answers(inputs, 3, baselines=known, **pages)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("train", "test", "split is test at .* allowed: train, valid"),
        ("add", "power", "operation is power at .*; allowed: add, subtract, multiply, divide"),
        (",1,0,0.5\n", ",2,0,0.5\n", "right is 2 at .*; allowed: 0 or 1"),
        (",0.5\n", ",1.5\n", "probability is 1.5 at .*; allowed: 0 to 1"),
        ("data,model", "model,data", "has the columns"),
    ],
)
def test_malformed_answers_are_refused_in_one_line(
    tmp_path: Path, old: str, new: str, said: str
) -> None:
    path = tmp_path / "answers.csv"
    write_answers(answers(), path)
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(ValueError, match=f"answers.csv: {said}") as raised:
        read_answers([path])
    assert "\n" not in str(raised.value)
