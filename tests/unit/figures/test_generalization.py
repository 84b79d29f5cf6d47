from pathlib import Path

import pandas as pd
import plotly.graph_objects as go
import pytest

from gpt_math_domains.figures.drawing import describe, read_drawing
from gpt_math_domains.figures.generalization import generalization_curves, plot_generalization
from gpt_math_domains.results.metrics import write_metrics
from metric_rows import baselines, baselines_table, row

COLORS = ["#00BBBB", "#FF4444"]
STEPS = [1000, 2000]


def runs(
    *protocols: str | None,
    models: tuple[int, ...] = (2, 4),
    seeds: int = 2,
    mirrored: float | None = 0.75,
) -> pd.DataFrame:
    """Return runs whose validation accuracy is 0.1 model + 0.01 seed; training is at 0.75."""
    phase = "finetune" if protocols else "pretrain"
    accuracy = "domain_acc" if protocols else "math_acc"
    other = {f"mirrored_{accuracy}": mirrored, f"unmirrored_{accuracy}": 0.25}
    return pd.DataFrame(
        row(phase, seed, step, model / 10 + seed / 100, model=model, protocol=protocol, **other)
        for protocol in protocols or (None,)
        for model in models
        for seed in range(seeds)
        for step in STEPS
    )


def drawn(metrics: pd.DataFrame) -> go.Figure:
    accuracy = "domain_acc" if "domain_acc" in metrics else "math_acc"
    return generalization_curves(metrics, accuracy, COLORS, "title")


def lines(figure: go.Figure, axis: str) -> dict[str, go.Scatter]:
    """Return the lines of a plot by their names."""
    return {
        line.name: line
        for line in figure.data
        if line.yaxis == axis and line.fill is None and line.visible
    }


def test_training_stands_beside_validation() -> None:
    accuracies = lines(drawn(runs()), "y")
    assert list(accuracies) == [
        *("2", "2 train/math_acc, no dropout"),
        *("4", "4 train/math_acc, no dropout"),
    ]
    validation, training = accuracies["4"], accuracies["4 train/math_acc, no dropout"]
    assert validation.x.tolist() == training.x.tolist() == STEPS
    assert validation.y.tolist() == pytest.approx([0.405, 0.405])
    assert training.y.tolist() == [0.75, 0.75]
    assert (validation.line.dash, training.line.dash) == ("solid", "dash")
    assert validation.line.color == training.line.color == COLORS[1]


def test_validation_is_split_into_mirrored_equations_and_others() -> None:
    split = lines(drawn(runs(models=(2,))), "y2")
    assert {name: line.y.tolist() for name, line in split.items()} == {
        "2 eval/math_acc, mirrored": [0.75, 0.75],
        "2 eval/math_acc, not mirrored": [0.25, 0.25],
    }


def test_losses_of_both_stand_below_on_a_free_axis() -> None:
    figure = drawn(runs(models=(2,)))
    assert {name: line.y.tolist() for name, line in lines(figure, "y3").items()} == {
        "2 eval/loss": [1.25, 1.25],
        "2 train/loss, no dropout": [1.375, 1.375],
    }
    assert figure.layout.yaxis3.range is None
    assert figure.layout.yaxis.range[0] == figure.layout.yaxis2.range[0] == 0


def test_titles_of_plots_tell_what_is_solid_and_what_is_dashed() -> None:
    titles = [title.text for title in drawn(runs()).layout.annotations]
    assert titles == [
        "accuracy: validation solid, training dashed",
        "validation: mirrored solid, others dashed",
        "loss: validation solid, training dashed",
    ]


def test_data_without_mirrored_equations_has_lines_of_the_others_alone() -> None:
    assert list(lines(drawn(runs(models=(2,), mirrored=None)), "y2")) == [
        "2 eval/math_acc, not mirrored"
    ]


def test_one_legend_entry_rules_the_lines_and_bands_of_a_model() -> None:
    figure = drawn(runs())
    named = [line for line in figure.data if line.showlegend]
    assert [line.name for line in named] == ["2", "4"]
    for line in named:
        group = [trace for trace in figure.data if trace.legendgroup == line.legendgroup]
        assert len(group) == 12  # two lines with their bands in three plots
        assert {trace.yaxis for trace in group} == {"y", "y2", "y3"}


def test_the_baseline_stands_in_the_plot_of_all_validation_equations_for_each_protocol() -> None:
    metrics = runs("full", "scratch", models=(2,))
    figure = generalization_curves(metrics, "domain_acc", COLORS, "title", 0.55)
    dotted = [trace for trace in figure.data if trace.line.dash == "dot"]
    assert [(line.yaxis, line.y, line.visible) for line in dotted] == [
        ("y", (0.55, 0.55), True),
        ("y", (0.55, 0.55), False),
    ]
    [menu] = [menu for menu in figure.layout.updatemenus if menu.type == "dropdown"]
    for button in menu.buttons:
        visible = button.args[0]["visible"]
        assert sum(on for on, t in zip(visible, figure.data, strict=True) if t in dotted) == 1


def test_one_seed_has_no_band() -> None:
    assert {line.fill for line in drawn(runs(seeds=1)).data} == {None}


def test_full_is_drawn_and_a_menu_chooses_another_protocol() -> None:
    figure = drawn(runs("scratch", "full", models=(2,)))
    half = len(figure.data) // 2
    assert [trace.visible for trace in figure.data] == [True] * half + [False] * half
    [menu] = [menu for menu in figure.layout.updatemenus if menu.type == "dropdown"]
    assert [button.label for button in menu.buttons] == ["full", "scratch"]
    assert menu.buttons[1].args[0]["visible"] == [False] * half + [True] * half
    assert "model 2, scratch<br>" in figure.data[-1].hovertemplate


def test_words_are_of_what_is_drawn_at_first() -> None:
    assert describe(drawn(runs("full", "scratch", models=(2,)))).count("model 2:") == 1


def test_each_phase_has_a_page_of_its_own_runs(tmp_path: Path) -> None:
    for metrics, domain, title in (
        (runs(models=(2,)), None, "Pretrain Data:1, generalization"),
        (runs("full", models=(2,)), 1, "Finetune Domain: 1 Pretrain Data:1, generalization"),
    ):
        path, page = tmp_path / "metrics.csv", tmp_path / "page.html"
        rows = [{str(name): value for name, value in r.items()} for _, r in metrics.iterrows()]
        write_metrics(rows, "pretrain" if domain is None else "finetune", path)
        known = baselines_table(tmp_path, baselines("pretrain" if domain is None else "finetune"))
        plot_generalization([path], 1, COLORS, page, baselines=known, domain=domain)
        assert '"baseline 0.250"' in page.read_text()
        assert read_drawing(page).layout["title"]["text"] == title
        with pytest.raises(ValueError, match=r"data versions \[1\]; the figure is of 3"):
            plot_generalization([path], 3, COLORS, page, baselines=known, domain=domain)
