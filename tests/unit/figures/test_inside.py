"""Figures of the inside of models: the numbers of their tables, and what they are set beside."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest

from gpt_math_domains.figures.attention import attention_heatmap, plot_attention
from gpt_math_domains.figures.drawing import read_drawing
from gpt_math_domains.figures.embedding import digit_geometry, plot_embedding
from gpt_math_domains.figures.lens import ALL, lens_curves, plot_lens
from gpt_math_domains.figures.probes import layer_curves, plot_probes, step_curves
from gpt_math_domains.results.inside import ATTENTION, COMPONENTS, LENS, PROBES, SPECTRUM, Table
from gpt_math_domains.results.statistics import mean_interval
from metric_rows import baselines_table, family_baselines

EQUATIONS = ("1 + 2 = 3", "1 - 2 = - 1")


def read(table: Table, rows: list[dict[str, Any]], tmp_path: Path) -> pd.DataFrame:
    table.write(rows, tmp_path / "table.csv")
    return table.read([tmp_path / "table.csv"])


def attention(seeds: int = 2) -> list[dict[str, Any]]:
    """Weights that tell where they are from."""
    return [
        {"data": 1, "model": 2, "seed": seed, "layer": layer, "head": head, "equation": equation}
        | {"query": query, "query_symbol": symbols[query]}
        | {"key": key, "key_symbol": symbols[key]}
        | {"weight": (seed + 1) * (0.1 * layer + 0.02 * head + 0.001 * query + 0.0001 * key)}
        for seed in range(seeds)
        for equation in EQUATIONS
        for symbols in [equation.split()]
        for layer in (1, 2)
        for head in range(3)
        for query in range(len(symbols))
        for key in range(query + 1)
    ]


def chosen(figure: go.Figure, menu: int, button: int) -> go.Figure:
    """Return a figure after a click into one of its menus, as plotly.js carries it out."""
    pressed, changed = figure.layout.updatemenus[menu].buttons[button], go.Figure(figure)
    restyle, *relayout = pressed.args
    for key, values in restyle.items():
        for trace, value in zip(changed.data, values, strict=True):
            trace[key] = value
    for change in relayout:
        changed.update_layout({key.replace(".", "_"): value for key, value in change.items()})
    return changed


def shown(figure: go.Figure) -> list[Any]:
    return [trace for trace in figure.data if trace.visible is not False]


def test_each_head_has_a_square_with_the_symbols_at_its_sides(tmp_path: Path) -> None:
    figure = attention_heatmap(read(ATTENTION, attention(), tmp_path), "title")
    for equation, figure_of in (
        (EQUATIONS[0], figure),
        (EQUATIONS[1], chosen(figure, menu=0, button=1)),
    ):
        [trace] = shown(figure_of)
        grid, symbols = np.array(trace.z, dtype=float), equation.split()
        assert grid.shape == (2 * 7 - 1, 3 * 7 - 1)
        axis = figure_of.layout.xaxis
        named = dict(zip(axis.tickvals, axis.ticktext, strict=True))
        for layer in (1, 2):
            for head in range(3):
                for query in range(len(symbols)):
                    for key in range(query + 1):
                        weight = 0.1 * layer + 0.02 * head + 0.001 * query + 0.0001 * key
                        place = 7 * (layer - 1) + query, 7 * head + key
                        assert grid[place] == pytest.approx(weight, abs=1e-4)
                        assert named[place[1]] == symbols[key]
        # Nothing before a symbol, and nothing between squares.
        assert np.isfinite(grid).sum() == 6 * len(symbols) * (len(symbols) + 1) / 2
    titles = [note.text for note in figure.layout.annotations]
    assert titles == ["head 0", "head 1", "head 2", "layer 1", "layer 2"]


def test_seed_and_equation_are_chosen_apart(tmp_path: Path) -> None:
    figure = attention_heatmap(read(ATTENTION, attention(), tmp_path), "title")
    assert [button.label for button in figure.layout.updatemenus[1].buttons] == ["seed 0", "seed 1"]
    [before], [after] = shown(figure), shown(chosen(figure, menu=1, button=1))
    ratio = np.array(after.z, dtype=float) / np.array(before.z, dtype=float)
    assert ratio[np.isfinite(ratio)] == pytest.approx(2.0, abs=1e-2)
    both = chosen(chosen(figure, menu=1, button=1), menu=0, button=1)
    [last] = shown(both)
    assert np.array(last.z, dtype=float)[0, 0] == pytest.approx(0.2)
    alone = attention_heatmap(read(ATTENTION, attention(seeds=1), tmp_path), "title")
    assert len(alone.layout.updatemenus) == 1


def geometry(tmp_path: Path, seeds: int = 3, matrices: tuple[str, ...] = ("tied",)) -> go.Figure:
    common: list[dict[str, Any]] = [
        {"data": 1, "model": model, "seed": seed, "matrix": matrix}
        for model in (2, 4)
        for seed in range(seeds)
        for matrix in matrices
    ]
    components = [
        {**row, "component": component, "share": 0.5 - 0.1 * component - 0.01 * row["seed"]}
        | {"digit": digit, "coordinate": digit * component + 0.5 * row["seed"]}
        for row in common
        for component in (1, 2, 3)
        for digit in range(5)
    ]
    spectrum = [
        {**row, "frequency": k, "power": 0.4 + 0.1 * row["seed"] * (3 - 2 * k), "random": 0.5}
        for row in common
        for k in (1, 2)
    ]
    return digit_geometry(
        read(COMPONENTS, components, tmp_path), read(SPECTRUM, spectrum, tmp_path), "title"
    )


def test_digits_lie_where_their_components_say_of_the_seed_that_is_chosen(tmp_path: Path) -> None:
    figure = geometry(tmp_path)
    second = chosen(figure, menu=0, button=1)
    for seed, figure_of in ((0, figure), (1, second)):
        digits = [trace for trace in shown(figure_of) if trace.type == "scatter" and trace.text]
        assert len(digits) == 2  # one for each model
        assert digits[0].text == ("0", "1", "2", "3", "4")
        assert digits[0].x.tolist() == [digit + 0.5 * seed for digit in range(5)]
        assert digits[0].y.tolist() == [2 * digit + 0.5 * seed for digit in range(5)]
    assert figure.layout.xaxis.title.text == "component 1: 40%"
    assert second.layout.yaxis3.title.text == "component 2: 29%"


def test_bars_are_means_with_intervals_beside_what_random_rows_have(tmp_path: Path) -> None:
    figure = geometry(tmp_path)
    bars = [trace for trace in figure.data if trace.type == "bar"]
    assert bars[0].y.tolist() == pytest.approx([0.5, 0.3])
    interval = mean_interval(pd.Series([0.4, 0.5, 0.6]))
    assert bars[0].error_y.array[0] == pytest.approx(interval.high - interval.mean)
    [random, _] = [trace for trace in figure.data if trace.name == "random rows"]
    assert random.y.tolist() == [0.5, 0.5]
    alone = geometry(tmp_path, seeds=1)
    assert all(trace.error_y.array is None for trace in alone.data)
    assert not alone.layout.updatemenus


def test_a_matrix_of_its_own_has_a_row_of_its_own(tmp_path: Path) -> None:
    figure = geometry(tmp_path, matrices=("embedding", "unembedding"))
    titles = [note.text for note in figure.layout.annotations]
    assert titles[::2] == [
        f"model {model}, {matrix}" for model in (2, 4) for matrix in ("embedding", "unembedding")
    ]
    tied = [note.text for note in geometry(tmp_path).layout.annotations]
    assert tied[0] == "model 2, embedding = unembedding"


LENS_ROWS = [
    {"data": 1, "model": 2, "seed": seed, "layer": layer, "split": split}
    | {"operation": operation, "modulo": modulo, "equations": 10 if modulo else 30}
    | {"accuracy": 0.2 * layer + (0.3 if modulo else 0.1) + 0.01 * seed, "probability": 0.05}
    for seed in (0, 1)
    for layer in (0, 1, 2)
    for split in ("train", "valid")
    for operation in ("add", "divide")
    for modulo in (None, 3)
]


def test_a_layers_accuracy_is_over_all_equations_of_the_chosen_modulus(tmp_path: Path) -> None:
    figure = lens_curves(read(LENS, LENS_ROWS, tmp_path), "title")
    assert [trace.name for trace in figure.data[:4]] == [
        "add, training", "add, validation", "divide, training", "divide, validation",
    ]  # fmt: skip
    every = shown(figure)[0]
    assert every.x.tolist() == [0, 1, 2]
    # Three of four equations have no modulus.
    assert every.y.tolist() == pytest.approx([0.155, 0.355, 0.555])
    [menu] = figure.layout.updatemenus
    assert [button.label for button in menu.buttons] == [ALL, "none", "3"]
    modulus = shown(chosen(figure, menu=0, button=2))[0]
    assert modulus.y.tolist() == pytest.approx([0.305, 0.505, 0.705])


def test_a_layers_accuracy_has_the_baseline_of_the_chosen_equations(tmp_path: Path) -> None:
    known = family_baselines({("add", None): 0.2, ("add", 3): 0.6, ("divide", None): 0.5})
    figure = lens_curves(read(LENS, LENS_ROWS, tmp_path), "title", known)

    def beaten(figure: go.Figure) -> dict[str, list[float]]:
        lines = [trace for trace in shown(figure) if trace.line.dash == "dot"]
        assert {trace.xaxis for trace in lines} == {"x"}  # of accuracies alone
        return {trace.legendgroup: list(trace.y) for trace in lines}

    # Three of four equations have no modulus. Of division, one baseline is not known.
    assert beaten(figure) == {"add valid": pytest.approx([0.3, 0.3])}
    assert beaten(chosen(figure, menu=0, button=1)) == {
        "add valid": [0.2, 0.2],
        "divide valid": [0.5, 0.5],
    }


def probes(steps: tuple[int, ...] = (0, 5, 9), seeds: int = 3) -> list[dict[str, Any]]:
    runs = [("pretrain", None, steps), ("finetune", "full", (20,)), ("finetune", "frozen", (20,))]
    return [
        {"phase": phase, "data": 1, "model": 2, "domain": 1, "protocol": protocol, "seed": seed}
        | {"step": step, "layer": layer, "label": label, "train_accuracy": 1.0, "majority": 0.6}
        | {"accuracy": 0.5 + 0.02 * step + 0.03 * layer + 0.01 * seed - 0.1 * (protocol == "full")}
        for phase, protocol, some in runs
        for seed in range(seeds)
        for step in some
        for layer in (0, 1)
        for label in ("first_odd", "has_zero")
    ]


def test_probes_stand_beside_random_weights_and_the_majority(tmp_path: Path) -> None:
    figure = layer_curves(read(PROBES, probes(), tmp_path), "title")
    names = ["pretrained", "full", "frozen", "random weights", "majority"]
    assert [trace.name for trace in figure.data] == names * 2  # for each label
    assert [trace.name for trace in figure.data if trace.showlegend] == names
    lines = dict(zip(names, figure.data, strict=False))
    assert lines["pretrained"].y.tolist() == pytest.approx([0.69, 0.72])  # of its last step
    assert lines["full"].y.tolist() == pytest.approx([0.81, 0.84])
    assert lines["random weights"].y.tolist() == pytest.approx([0.51, 0.54])
    assert lines["majority"].y == (0.6, 0.6)
    wanted = mean_interval(pd.Series([0.68, 0.69, 0.70]))
    error = lines["pretrained"].error_y.array[0]
    assert error == pytest.approx(wanted.high - wanted.mean)


def test_probes_by_step_have_a_line_for_each_layer(tmp_path: Path) -> None:
    figure = step_curves(read(PROBES, probes(), tmp_path), "title")
    assert [trace.name for trace in figure.data] == ["0 (embedding)", "1", "majority"] * 2
    assert figure.data[1].x.tolist() == [0, 5, 9]
    assert figure.data[1].y.tolist() == pytest.approx([0.54, 0.64, 0.72])
    [buttons] = figure.layout.updatemenus  # no choice: finetuning kept no checkpoints
    assert [button.label for button in buttons.buttons] == ["linear", "log"]


def test_pages_are_of_one_version_and_have_the_same_bytes_each_time(tmp_path: Path) -> None:
    tables = {
        "attention": (ATTENTION, attention()),
        "lens": (LENS, LENS_ROWS),
        "probes": (PROBES, probes()),
    }
    for name, (table, rows) in tables.items():
        table.write(rows, tmp_path / f"{name}.csv")
    geometry(tmp_path)  # leaves its spectrum
    pages = {name: tmp_path / f"{name}.html" for name in ("attention", "lens", "layers", "steps")}

    known = baselines_table(tmp_path, family_baselines({}))

    def draw(data: int = 1) -> dict[str, bytes]:
        plot_attention([tmp_path / "attention.csv"], data, 2, pages["attention"])
        plot_lens([tmp_path / "lens.csv"], data, pages["lens"], baselines=known)
        plot_probes(
            [tmp_path / "probes.csv"], 1, data, layers=pages["layers"], steps=pages["steps"]
        )
        return {name: page.read_bytes() for name, page in pages.items()}

    assert draw() == draw()
    title = read_drawing(pages["attention"]).layout["title"]["text"]
    assert title == "Pretrain Data:1, model 2, attention"
    with pytest.raises(ValueError, match=r"of data versions \[1\]; the figure is of 3"):
        draw(data=3)
    with pytest.raises(ValueError, match=r"of model versions \[2\]; the figure is of 4"):
        plot_attention([tmp_path / "attention.csv"], 1, 4, pages["attention"])
    with pytest.raises(ValueError, match=r"table\.csv: has the columns"):
        plot_embedding([tmp_path / "table.csv"], [], 1, tmp_path / "embedding.html")
