from pathlib import Path

import pandas as pd
import plotly.graph_objects as go
import pytest

from gpt_math_domains.figures.labels import label_curves, plot_labels
from gpt_math_domains.results.metrics import read_parts, write_parts
from metric_rows import baselines, baselines_table

STEPS = (1, 2, 4)


def table(
    protocols: tuple[str, ...] = ("full", "frozen"),
    models: tuple[int, ...] = (2, 4),
    seeds: int = 2,
    labels: tuple[str, ...] = ("first_odd", "has_zero"),
    steps: tuple[int, ...] = STEPS,
) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "phase": "finetune",
            "data": 1,
            "model": model,
            "domain": 1,
            "protocol": protocol,
            "seed": seed,
            "step": step,
            "label": label,
            "accuracy": 0.1 * place + 0.01 * step + 0.2 * seed,
        }
        for protocol in protocols
        for model in models
        for seed in range(seeds)
        for step in steps
        for place, label in enumerate(labels)
    )


def shown(figure: go.Figure) -> list[go.Scatter]:
    return [trace for trace in figure.data if trace.visible]


def test_each_model_has_a_plot_with_a_line_for_each_label() -> None:
    figure = label_curves(table(), "title")
    lines = shown(figure)
    assert [line.name for line in lines] == ["first_odd", "has_zero"] * 2
    assert [line.yaxis for line in lines] == ["y", "y", "y2", "y2"]
    for line in lines:
        offset = 0.1 if line.name == "has_zero" else 0.0
        assert line.x.tolist() == list(STEPS)
        assert line.y.tolist() == pytest.approx([offset + 0.1 + 0.01 * step for step in STEPS])
    assert len({(line.line.color, line.marker.symbol) for line in lines}) == 2
    assert [line.showlegend for line in lines] == [True, True, False, False]


def test_full_is_drawn_and_a_menu_chooses_another_protocol() -> None:
    figure = label_curves(table(("frozen", "full")), "title")
    assert {trace.visible for trace in figure.data[:4]} == {True}
    assert {trace.visible for trace in figure.data[4:]} == {False}
    [menu] = [menu for menu in figure.layout.updatemenus if menu.type == "dropdown"]
    assert [button.label for button in menu.buttons] == ["full", "frozen"]
    assert menu.buttons[1].args[0]["visible"] == [False] * 4 + [True] * 4


def test_one_protocol_has_no_menu_and_one_evaluation_is_a_point() -> None:
    figure = label_curves(table(("full",), seeds=1, steps=(1,)), "title")
    assert [menu.type for menu in figure.layout.updatemenus] == ["buttons"]
    assert shown(figure)[0].x.tolist() == [1]


def test_each_label_has_its_baseline_in_its_colour() -> None:
    known = baselines("finetune", first_odd=0.5, has_zero=0.75)
    figure = label_curves(table(("full", "frozen"), (2,)), "title", known)
    dotted = [line for line in shown(figure) if line.line.dash == "dot"]
    assert [(line.y[0], line.legendgroup) for line in dotted] == [
        (0.5, "first_odd"),
        (0.75, "has_zero"),
    ]
    [menu] = [menu for menu in figure.layout.updatemenus if menu.type == "dropdown"]
    half = len(figure.data) // 2
    assert menu.buttons[1].args[0]["visible"] == [False] * half + [True] * half


def test_hostile_labels_stay_text() -> None:
    figure = label_curves(table(labels=("<b>bold</b>",)), "title")
    assert figure.data[0].name == "&lt;b&gt;bold&lt;/b&gt;"


def test_accuracies_read_back_exactly_and_make_a_page(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    rows = [dict(row) for row in table(("full",), (2,)).to_dict("records")]
    write_parts([{str(k): v for k, v in row.items()} for row in rows], "finetune", path)
    read = read_parts([path], "finetune")
    assert read["accuracy"].tolist() == table(("full",), (2,))["accuracy"].tolist()
    known = baselines_table(tmp_path, baselines("finetune", first_odd=0.5))
    plot_labels([path], 1, 1, tmp_path / "page.html", baselines=known)
    assert "first_odd" in (tmp_path / "page.html").read_text()
    with pytest.raises(ValueError, match=r"domain versions \[1\]; the figure is of 2"):
        plot_labels([path], 2, 1, tmp_path / "page.html", baselines=known)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda text: text.replace("0.01\n", "1.01\n", 1), "accuracy is 1.01 at .*: 0 to 1"),
        (lambda text: text.replace("has_zero", "first_odd", 1), "each label once for each seed"),
        (lambda text: text.replace("label,", "name,", 1), "has the columns"),
    ],
)
def test_malformed_accuracies_are_refused(tmp_path: Path, change: object, said: str) -> None:
    path = tmp_path / "labels.csv"
    rows = [{str(key): value for key, value in row.items()} for row in table().to_dict("records")]
    write_parts(rows, "finetune", path)
    assert callable(change)
    path.write_text(change(path.read_text()))
    with pytest.raises(ValueError, match=f"labels.csv: .*{said}"):
        read_parts([path], "finetune")
