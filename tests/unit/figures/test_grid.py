from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest

from gpt_math_domains.figures.drawing import read_drawing
from gpt_math_domains.figures.grid import grid_heatmaps, grid_lines, plot_grid, spread, varied_keys
from gpt_math_domains.figures.images import read_figure
from gpt_math_domains.figures.looks import PROTOCOL_COLORS
from gpt_math_domains.results.grid import collect_grid, read_grid
from gpt_math_domains.results.metrics import read_metrics, write_metrics
from gpt_math_domains.results.summary import summarize
from metric_rows import baselines, baselines_table, row

COLORS = ["#0072B2", "#D55E00"]
DECAY, SHARE, LAYERS = "pretrain.weight_decay", "data.train_share", "models.num_layers"
Points = list[tuple[Mapping[str, str | None], list[list[float]]]]


def table(directory: Path, points: Points, **run: Any) -> Path:
    """Write the table of a grid: of each point the keys' values, and each seed's accuracies."""
    paths, told = [], []
    for number, (values, seeds) in enumerate(points):
        phase = "finetune" if values.get("protocol") else "pretrain"
        own = {"protocol": values["protocol"]} if phase == "finetune" else {}
        rows = [
            row(phase, seed, 10 * (i + 1), accuracy, **own, **run)
            for seed, curve in enumerate(seeds)
            for i, accuracy in enumerate(curve)
        ]
        write_metrics(rows, phase, directory / f"{number}.csv")
        paths.append(directory / f"{number}.csv")
        keys = {key: value for key, value in values.items() if key != "protocol"}
        told.append({"point": f"grid/number~{number}/", **keys})
    collect_grid(paths, told, directory / "grid.csv")
    return directory / "grid.csv"


def lines(directory: Path, values: list[str]) -> go.Figure:
    """Return the figure of a grid with one key and two seeds."""
    points: Points = [({DECAY: value}, [[0.25, 0.5], [0.5, 0.75]]) for value in values]
    return grid_lines(read_grid(table(directory, points)), DECAY, "math_acc", COLORS, "title")


def curve(figure: go.Figure, axis: str) -> go.Scatter:
    curves = [t for t in figure.data if t.yaxis == axis and t.mode == "lines+markers"]
    [found] = [t for t in curves if "keys" in t.meta]
    return found


def points_of(figure: go.Figure, axis: str) -> set[tuple[str, float, float]]:
    """Return the seeds' points in a plot, each with its symbol."""
    return {
        (trace.marker.symbol, float(x), round(float(y), 9))
        for trace in figure.data
        if trace.yaxis == axis and trace.mode == "markers" and "keys" in trace.meta
        for x, y in zip(trace.x, trace.y, strict=True)
    }


def test_one_key_has_the_final_accuracy_and_the_first_steps_that_were_reached(
    tmp_path: Path,
) -> None:
    points: Points = [
        ({DECAY: "1"}, [[0.6, 0.7], [0.7, 0.9]]),
        ({DECAY: "0.5"}, [[0.3, 0.4], [0.3, 0.6]]),
    ]
    figure = grid_lines(read_grid(table(tmp_path, points)), DECAY, "math_acc", COLORS, "title")
    accuracy, steps = curve(figure, "y"), curve(figure, "y2")
    assert list(accuracy.x) == [0.5, 1.0]
    assert list(accuracy.y) == pytest.approx([0.5, 0.8])
    # Student's t with one degree of freedom: 12.706 times the standard error, cut off at 0 and 1.
    assert accuracy.error_y.array == pytest.approx([0.5, 0.2])
    assert accuracy.error_y.arrayminus == pytest.approx([0.5, 0.8])
    # One of two seeds did not get to 0.5 at 0.5, so there is no mean, and it is a triangle.
    assert np.isnan(steps.y[0]) and steps.y[1] == 5
    assert points_of(figure, "y2") == {
        ("circle-open", 1.0, 5.0),
        ("circle-open", 0.5, 15.0),
        ("triangle-up-open", 0.5, 20.0),
    }
    assert points_of(figure, "y") == {
        ("circle-open", x, y) for x, y in ((1.0, 0.7), (1.0, 0.9), (0.5, 0.4), (0.5, 0.6))
    }
    titles = [axis.title.text for axis in figure.select_yaxes()]
    assert titles == ["final math_acc", "steps to 0.5 (△ more)", "steps to 0.9 (△ more)"]


def test_steps_and_their_intervals_are_those_of_the_summary(tmp_path: Path) -> None:
    curves = [[0.1] * late + [0.6] * (10 - late) for late in (7, 7, 6, 8)]
    grid = table(tmp_path, [({DECAY: "1"}, curves)])
    told = summarize([read_metrics(tmp_path / "0.csv")]).iloc[0]
    figure = grid_lines(read_grid(grid), DECAY, "math_acc", COLORS, "title")
    for axis, name in (("y", "final"), ("y2", "step_0.5")):
        drawn = curve(figure, axis)
        [mean], error = drawn.y, drawn.error_y
        ends = [float(mean), float(mean - error.arrayminus[0]), float(mean + error.array[0])]
        means = [told[f"{name}_{part}"] for part in ("mean", "low", "high")]
        assert ends == pytest.approx(means)


@pytest.mark.parametrize(
    ("values", "kind", "places"),
    [
        (["0.3", "0.7", "0.5"], None, [0.3, 0.5, 0.7]),
        (["0.001", "1", "0.1"], "log", [0.001, 0.1, 1.0]),
        (["10", "1", "0", "0.1"], "category", ["0", "0.1", "1", "10"]),
        (["linear", "constant"], "category", ["linear", "constant"]),
        (["null", "1"], "category", ["null", "1"]),
        (["2"], None, [2.0]),
    ],
)
def test_the_axis_is_what_the_values_ask_for(
    tmp_path: Path, values: list[str], kind: str | None, places: list[Any]
) -> None:
    figure = lines(tmp_path, values)
    assert figure.layout.xaxis.type == kind
    assert list(curve(figure, "y").x) == places
    if kind != "category":
        assert list(figure.layout.xaxis.tickvals) == places
        assert list(figure.layout.xaxis.ticktext) == sorted(values, key=float)


def test_a_run_that_the_key_does_not_concern_is_level(tmp_path: Path) -> None:
    points: Points = [
        ({"protocol": "full", DECAY: "0"}, [[0.9]]),
        ({"protocol": "full", DECAY: "1"}, [[0.8]]),
        ({"protocol": "scratch", DECAY: None}, [[0.7]]),
    ]
    runs = read_grid(table(tmp_path, points))
    figure = grid_lines(spread(runs, [DECAY]), DECAY, "domain_acc", COLORS, "title")
    drawn = [t for t in figure.data if t.yaxis == "y" and t.mode == "lines+markers"]
    full, scratch = [t for t in drawn if "keys" in t.meta]
    assert (list(full.y), list(scratch.y)) == ([0.9, 0.8], [0.7, 0.7])
    assert (full.visible, scratch.visible) == (True, True)


RUNS = [(protocol, model) for protocol in ("full", "scratch", "frozen") for model in (2, 4)]


def protocols_and_models(directory: Path, colors: list[str] | None) -> go.Figure:
    """Return the figure of a grid with three protocols and two models."""
    tables = []
    for protocol, model in RUNS:
        points: Points = [({"protocol": protocol, DECAY: value}, [[0.6]]) for value in "12"]
        (directory / f"{protocol}{model}").mkdir()
        tables.append(read_grid(table(directory / f"{protocol}{model}", points, model=model)))
    runs = pd.concat(tables, ignore_index=True)
    return grid_lines(runs, DECAY, "domain_acc", colors, "title", 0.25)


def test_colours_tell_protocols_and_markers_models_where_any_colour_vision_shall_do(
    tmp_path: Path,
) -> None:
    figure = protocols_and_models(tmp_path, None)
    drawn = [t for t in figure.data if t.mode == "lines+markers" and "keys" in t.meta]
    looks = {tuple(t.meta["keys"]): (t.line.color, t.marker.symbol) for t in drawn}
    assert looks == {
        (f"protocol {protocol}", f"model {model}"): (PROTOCOL_COLORS[protocol], symbol)
        for protocol in ("full", "scratch", "frozen")
        for model, symbol in ((2, "circle"), (4, "square"))
    }


def test_one_entry_of_the_legend_switches_a_protocol_and_one_a_model(tmp_path: Path) -> None:
    figure = protocols_and_models(tmp_path, COLORS)
    entries = {t.meta["switch"]: t.visible for t in figure.data if "switch" in t.meta}
    assert entries == {
        **{"protocol full": True, "protocol scratch": True, "protocol frozen": "legendonly"},
        **{"model 2": True, "model 4": True, "baseline": None},
    }
    runs = [t for t in figure.data if "keys" in t.meta]
    for trace in runs:
        assert trace.showlegend is False and set(trace.meta["keys"]) <= set(entries)
        assert trace.visible == ("protocol frozen" not in trace.meta["keys"])
    assert {tuple(t.meta["keys"]) for t in runs} == {
        (f"protocol {protocol}", f"model {model}") for protocol, model in RUNS
    }


def test_the_final_accuracy_has_its_baseline(tmp_path: Path) -> None:
    points: Points = [({DECAY: value}, [[0.4, 0.6]]) for value in ("0", "word", "1")]
    grid, known = table(tmp_path, points), baselines_table(tmp_path, baselines())
    plot_grid(grid, 1, None, tmp_path / "page.html", baselines=known)
    [line] = [t for t in read_figure(tmp_path / "page.html").data if "baseline" in (t.name or "")]
    assert (line.yaxis, list(line.x), list(line.y)) == ("y", ["0", "1"], [0.25, 0.25])


def test_a_menu_chooses_how_far_cells_lie_above_the_baseline(tmp_path: Path) -> None:
    figure = grid_heatmaps(
        read_grid(table(tmp_path, TWO)), [DECAY, SHARE], "math_acc", "title", 0.25
    )
    accuracy, above, steps = figure.data
    [menu] = figure.layout.updatemenus
    assert [button.label for button in menu.buttons] == ["accuracy", "accuracy minus baseline"]
    assert [button.args[0]["visible"] for button in menu.buttons] == [
        [True, False, True],
        [False, True, True],
    ]
    assert above.z == pytest.approx(np.asarray(accuracy.z, float) - 0.25, nan_ok=True)
    assert "step" in steps.hovertemplate


def test_where_the_data_vary_no_baseline_is_drawn(tmp_path: Path) -> None:
    points: Points = [({SHARE: value}, [[0.4]]) for value in ("0.3", "0.7")]
    grid = table(tmp_path, points)
    told = grid.read_text().replace("grid/number~1/", f"grid/{SHARE}~0.7/")
    grid.write_text(told)
    known = baselines_table(tmp_path, baselines())
    plot_grid(grid, 1, None, tmp_path / "page.html", baselines=known)
    assert not any("baseline" in (t.name or "") for t in read_figure(tmp_path / "page.html").data)


TWO: Points = [
    ({SHARE: "0.3", DECAY: "0"}, [[0.1, 0.2], [0.1, 0.4]]),
    ({SHARE: "0.3", DECAY: "1"}, [[0.5, 0.5], [0.1, 0.4]]),
    ({SHARE: "0.7", DECAY: "0"}, [[0.5, 0.6], [0.4, 0.6]]),
    ({SHARE: "0.7", DECAY: "0.1"}, [[0.2, 0.6], [0.1, 0.6]]),
]


def test_two_keys_have_a_cell_for_each_point(tmp_path: Path) -> None:
    runs = read_grid(table(tmp_path, TWO))
    assert varied_keys(runs) == [DECAY, SHARE]
    figure = grid_heatmaps(runs, [DECAY, SHARE], "math_acc", "title")
    accuracy, steps = [t for t in figure.data if t.type == "heatmap"]
    assert (list(accuracy.x), list(accuracy.y)) == (["0", "0.1", "1"], ["0.3", "0.7"])
    expected = [[0.3, np.nan, 0.45], [0.6, 0.6, np.nan]]
    assert np.asarray(accuracy.z, float) == pytest.approx(np.array(expected), nan_ok=True)
    assert [list(line) for line in accuracy.text] == [["0.30", "", "0.45"], ["0.60", "0.60", ""]]
    # Where not all seeds got to 0.5, there is no colour, and how many did.
    assert [list(line) for line in steps.text] == [["0 of 2", "", "1 of 2"], ["10", "15", ""]]
    colours = 10.0 ** np.asarray(steps.z, float)
    expected = [[np.nan, np.nan, np.nan], [10, 15, np.nan]]
    assert colours == pytest.approx(np.array(expected), nan_ok=True)


def test_a_menu_chooses_the_values_of_a_third_key_and_the_protocol(tmp_path: Path) -> None:
    points: Points = [
        ({**values, LAYERS: layers, "protocol": protocol}, seeds)
        for protocol in ("full", "scratch")
        for layers in ("1", "2")
        for values, seeds in TWO
    ]
    runs = read_grid(table(tmp_path, points))
    assert varied_keys(runs) == [DECAY, SHARE, LAYERS]
    figure = grid_heatmaps(runs, [DECAY, SHARE, LAYERS], "domain_acc", "title")
    [menu] = figure.layout.updatemenus
    assert [button.label for button in menu.buttons] == [
        f"{protocol}, {LAYERS} {layers}" for protocol in ("full", "scratch") for layers in "12"
    ]
    for number, button in enumerate(menu.buttons):
        visible = button.args[0]["visible"]
        assert [i for i, seen in enumerate(visible) if seen] == [2 * number, 2 * number + 1]
    assert [trace.visible for trace in figure.data] == list(menu.buttons[0].args[0]["visible"])


def test_the_page_of_a_data_version_has_its_runs_alone_and_words(tmp_path: Path) -> None:
    points = TWO
    grid = table(tmp_path, points, data=3)
    known = baselines_table(tmp_path, baselines(data=3))
    plot_grid(grid, 3, COLORS, tmp_path / "page.html", baselines=known)
    drawing = read_drawing(tmp_path / "page.html")
    assert drawing.title.startswith("Pretrain Data:3, grid")
    assert drawing.description == (
        f"model 2: final math_acc 0.3 to 0.6, highest at {DECAY} 0, {SHARE} 0.7"
    )
    with pytest.raises(ValueError, match="figure is of 1"):
        plot_grid(grid, 1, COLORS, tmp_path / "other.html", baselines=known)


def test_one_key_is_drawn_as_lines_and_several_with_one_value_too(tmp_path: Path) -> None:
    points: Points = [({SHARE: "0.3", DECAY: value}, [[0.4]]) for value in ("0", "1")]
    known = baselines_table(tmp_path, baselines())
    plot_grid(table(tmp_path, points), 1, COLORS, tmp_path / "page.html", baselines=known)
    figure = read_figure(tmp_path / "page.html")
    assert {trace.type for trace in figure.data} == {"scatter"}
    assert figure.layout.xaxis.title.text == DECAY
