import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
from hypothesis import given, settings

from gpt_math_domains.figures.curves import learning_curves, overview_curves, plot_curves
from gpt_math_domains.figures.drawing import describe, write_figure
from gpt_math_domains.figures.library import copy_plotly
from gpt_math_domains.figures.looks import finetune_title, pretrain_title
from gpt_math_domains.results.metrics import write_metrics
from gpt_math_domains.results.reference import read_reference
from metric_rows import baselines, baselines_table, damaged, row

PRETRAIN_COLORS = ["#00BBBB", "#FF4444", "#00BBFF"]
FINETUNE_COLORS = ["#BBBBBB", "#888888", "#000000"]
STEPS = [1000, 2000, 3000]


def run(
    phase: str = "pretrain",
    model: int = 2,
    protocol: str | None = None,
    seeds: int = 3,
    seconds: float = 1.0,
    data: int = 1,
) -> pd.DataFrame:
    """Return a run whose accuracy at evaluation i of seed s is 0.1 model + 0.1 i + 0.01 s."""
    return pd.DataFrame(
        row(
            phase,
            seed,
            step,
            model / 10 + i / 10 + seed / 100,
            data=data,
            model=model,
            protocol=protocol,
            train_loss=2.0 - i / 2,
            eval_loss=3.0 - i / 2 + seed,
            seconds=seconds * step,
        )
        for seed in range(seeds)
        for i, step in enumerate(STEPS)
    )


def runs(*models: int, **other: Any) -> pd.DataFrame:
    return pd.concat([run(model=model, **other) for model in models])


def finetuned(*protocols: str, models: tuple[int, ...] = (2, 4)) -> pd.DataFrame:
    return pd.concat(runs(*models, phase="finetune", protocol=protocol) for protocol in protocols)


def pretrain_figure(metrics: pd.DataFrame, metric: str = "math_acc") -> go.Figure:
    return learning_curves(metrics, metric, PRETRAIN_COLORS, pretrain_title(1))


def finetune_figure(metrics: pd.DataFrame) -> go.Figure:
    return learning_curves(metrics, "domain_acc", FINETUNE_COLORS, finetune_title(1, 3))


def lines(figure: go.Figure) -> list[go.Scatter]:
    return [t for t in figure.data if t.fill is None and "keys" in (t.meta or {})]


def bands(figure: go.Figure) -> list[go.Scatter]:
    return [trace for trace in figure.data if trace.fill == "toself"]


def entries(figure: go.Figure) -> dict[str, go.Scatter]:
    """Return the entries of the legend by what they switch."""
    return {t.meta["switch"]: t for t in figure.data if "switch" in (t.meta or {})}


def write_runs(directory: Path, metrics: pd.DataFrame) -> list[Path]:
    """Write each run of a table to a file of its own."""
    paths = []
    for (model, protocol), rows in metrics.groupby(["model", "protocol"], dropna=False):
        paths.append(directory / f"{model}_{protocol}.csv")
        records = [{str(name): value for name, value in row.items()} for _, row in rows.iterrows()]
        write_metrics(records, rows["phase"].iloc[0], paths[-1])
    return paths


def test_titles_axes_and_legend_have_the_published_words() -> None:
    figure = pretrain_figure(runs(2, 4, 6))
    assert figure.layout.title.text == "Pretrain Data:1"
    assert figure.layout.xaxis.title.text == "step"
    assert figure.layout.yaxis.title.text == "eval/math_acc"
    assert figure.layout.legend.title.text == "model"
    figure = finetune_figure(finetuned("full"))
    assert figure.layout.title.text == "Finetune Domain: 1 Pretrain Data:3"
    assert figure.layout.yaxis.title.text == "eval/domain_acc"


@pytest.mark.parametrize(
    ("metric", "axis"), [("eval_loss", "eval/loss"), ("train_loss", "train/loss")]
)
def test_losses_have_their_axis_and_no_fixed_range(metric: str, axis: str) -> None:
    figure = pretrain_figure(runs(2), metric)
    assert figure.layout.yaxis.title.text == axis
    assert figure.layout.yaxis.range is None


def test_the_accuracy_axis_goes_from_0_to_just_above_1() -> None:
    low, high = pretrain_figure(runs(2)).layout.yaxis.range
    assert low == 0
    assert 1 < high < 1.1


def test_each_model_has_one_line_in_its_colour_in_ascending_order() -> None:
    found = lines(pretrain_figure(runs(6, 2, 4)))
    assert [line.name for line in found] == ["2", "4", "6"]
    assert [line.line.color for line in found] == PRETRAIN_COLORS
    assert [line.line.width for line in found] == [3, 3, 3]
    found = lines(finetune_figure(finetuned("full", models=(2, 4, 6))))
    assert [line.line.color for line in found] == FINETUNE_COLORS


def test_colours_repeat_when_there_are_more_models() -> None:
    found = lines(pretrain_figure(runs(1, 2, 3, 4)))
    assert [line.line.color for line in found] == [*PRETRAIN_COLORS, "#00BBBB"]


def test_models_are_told_apart_without_colours() -> None:
    for figure in (pretrain_figure(runs(2, 4, 6)), finetune_figure(finetuned("full", "frozen"))):
        found = [(line.line.dash, line.marker.symbol) for line in lines(figure)]
        assert len(set(found)) == len(found)


def luminance(color: str) -> float:
    """Return a colour's relative luminance (WCAG 2.2)."""
    parts = [int(color[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return sum(w * p for w, p in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_accessible_colours_tell_protocols_and_markers_tell_models() -> None:
    names = ("full", "scratch", "frozen", "random_frozen")
    figure = learning_curves(finetuned(*names), "domain_acc", None, "title")
    by_protocol: dict[str, set[str]] = {}
    by_model: dict[str, set[str]] = {}
    for line in lines(figure):
        protocol, model = line.meta["keys"]
        by_protocol.setdefault(protocol, set()).add(line.line.color)
        by_model.setdefault(model, set()).add(line.marker.symbol)
    for looks in (by_protocol, by_model):
        assert all(len(own) == 1 for own in looks.values())
        assert len(set.union(*looks.values())) == len(looks)
    for color in set.union(*by_protocol.values()):  # on white, 3 to 1 as for graphics (WCAG 2.2)
        assert 1.05 / (luminance(color) + 0.05) >= 3


def test_accessible_colours_tell_models_where_there_is_one_protocol() -> None:
    for metrics, metric in ((runs(2, 4), "math_acc"), (finetuned("full"), "domain_acc")):
        figure = learning_curves(metrics, metric, None, "title")
        assert len({line.line.color for line in lines(figure)}) == 2


def test_a_baseline_is_a_named_thin_dotted_line_at_its_value() -> None:
    figure = learning_curves(runs(2, 4), "math_acc", PRETRAIN_COLORS, "title", baseline=0.309)
    line = entries(figure)["baseline"]
    assert "; baseline 0.309: 0.309 at " in describe(figure)  # not "model baseline"
    assert (line.x, line.y) == ((1000, 3000), (0.309, 0.309))
    assert (line.name, line.line.dash) == ("baseline 0.309", "dot")
    assert line.line.width < min(other.line.width for other in lines(figure))
    assert "baseline" not in entries(pretrain_figure(runs(2)))


def test_a_button_makes_the_steps_logarithmic_in_all_plots() -> None:
    figure = overview_curves(runs(2, 4), "math_acc", PRETRAIN_COLORS, pretrain_title(1))
    [menu] = figure.layout.updatemenus
    linear, log = (button.args[0] for button in menu.buttons)
    for number in ("", "2", "3"):
        assert linear[f"xaxis{number}.type"] == "linear"
        assert log[f"xaxis{number}.type"] == "log"
    assert [button.label for button in menu.buttons] == ["linear", "log"]


def test_lines_are_means_over_seeds_and_bands_go_from_lowest_to_highest() -> None:
    figure = pretrain_figure(runs(4))
    [line], [band] = lines(figure), bands(figure)
    assert line.x.tolist() == STEPS
    assert line.y.tolist() == pytest.approx([0.41, 0.51, 0.61])
    assert line.customdata.tolist() == [
        pytest.approx(pair) for pair in ([0.4, 0.42], [0.5, 0.52], [0.6, 0.62])
    ]
    assert band.x.tolist() == STEPS + STEPS[::-1]
    assert band.y.tolist() == pytest.approx([0.42, 0.52, 0.62, 0.6, 0.5, 0.4])
    assert band.fill == "toself"
    assert band.fillcolor == line.line.color
    assert 0 < band.opacity < 0.5


def test_a_band_follows_its_line_in_the_legend_and_keeps_quiet() -> None:
    figure = pretrain_figure(runs(2, 4))
    assert [band.meta for band in bands(figure)] == [line.meta for line in lines(figure)]
    assert [line.meta["keys"][-1] for line in lines(figure)] == ["model 2", "model 4"]
    assert {band.hoverinfo for band in bands(figure)} == {"skip"}


def test_one_seed_has_no_band() -> None:
    figure = pretrain_figure(runs(2, seeds=1))
    assert bands(figure) == []
    assert "1 seed" in lines(figure)[0].hovertemplate


def test_the_hover_tells_model_step_value_and_spread() -> None:
    [line] = lines(pretrain_figure(runs(2)))
    assert line.hovertemplate == (
        "model 2<br>step %{x:,}<br>eval/math_acc %{y:.4f}<br>"
        "mean of 3 seeds (%{customdata[0]:.4f} to %{customdata[1]:.4f})<extra></extra>"
    )


def test_a_single_evaluation_is_drawn_as_a_point() -> None:
    metrics = runs(2)
    [line] = lines(pretrain_figure(metrics[metrics["step"] == 1000]))
    assert (line.x.tolist(), line.mode) == ([1000], "lines+markers")


def test_a_diverged_loss_leaves_a_gap() -> None:
    metrics = runs(2)
    metrics.loc[(metrics["step"] == 2000) & (metrics["seed"] == 1), "eval_loss"] = math.nan
    figure = pretrain_figure(metrics, "eval_loss")
    assert np.isnan(lines(figure)[0].y).tolist() == [False, True, False]
    assert bands(figure)[0].x.tolist() == [1000, 3000, 3000, 1000]


def test_full_is_drawn_beside_scratch_and_other_protocols_wait_in_the_legend() -> None:
    for colors in (FINETUNE_COLORS, None):
        metrics = finetuned("frozen", "full", "scratch")
        figure = learning_curves(metrics, "domain_acc", colors, "title")
        shown = {tuple(line.meta["keys"]): line.visible for line in lines(figure)}
        assert shown == {
            (f"protocol {protocol}", f"model {model}"): protocol != "frozen"
            for protocol in ("full", "frozen", "scratch")
            for model in (2, 4)
        }
        assert {key: entry.visible for key, entry in entries(figure).items()} == {
            "protocol full": True,
            "protocol frozen": "legendonly",
            "protocol scratch": True,
            "model 2": True,
            "model 4": True,
        }
        headings = [entry.legendgrouptitle.text for entry in entries(figure).values()]
        assert headings == ["protocol", None, None, "model", None]


def test_without_full_finetuning_the_first_protocol_is_drawn() -> None:
    figure = finetune_figure(finetuned("frozen", "scratch"))
    assert [line.visible for line in lines(figure)] == [True, True, False, False]


def test_full_finetuning_alone_has_no_heading() -> None:
    figure = finetune_figure(finetuned("full"))
    assert list(entries(figure)) == ["model 2", "model 4"]
    assert {entry.legendgrouptitle.text for entry in entries(figure).values()} == {None}


def test_the_overview_stacks_accuracy_and_losses_over_one_step_axis() -> None:
    figure = overview_curves(runs(2, 4), "math_acc", PRETRAIN_COLORS, pretrain_title(1))
    assert [axis.title.text for axis in figure.select_yaxes()] == [
        "eval/math_acc",
        "eval/loss",
        "train/loss",
    ]
    assert [axis.title.text for axis in figure.select_xaxes()] == [None, None, "step"]
    assert {axis.matches for axis in figure.select_xaxes()} == {"x3", None}
    heights = [high - low for low, high in (axis.domain for axis in figure.select_yaxes())]
    assert heights[0] > heights[1] == pytest.approx(heights[2])


def test_one_legend_entry_of_the_overview_rules_a_model_in_all_plots() -> None:
    figure = overview_curves(runs(2, 4), "math_acc", PRETRAIN_COLORS, pretrain_title(1))
    named = [trace for trace in figure.data if trace.showlegend is not False]
    assert [entry.meta["switch"] for entry in named] == ["model 2", "model 4"]
    for entry in named:
        ruled = [line for line in lines(figure) if entry.meta["switch"] in line.meta["keys"]]
        assert {trace.yaxis for trace in ruled} == {"y", "y2", "y3"}


def test_the_overview_has_the_baseline_in_the_plot_of_the_accuracy_alone() -> None:
    figure = overview_curves(runs(2), "math_acc", PRETRAIN_COLORS, "title", baseline=0.25)
    dotted = [trace for trace in figure.data if trace.line.dash == "dot"]
    assert [(trace.yaxis, trace.y) for trace in dotted] == [("y", (0.25, 0.25))]


def test_reference_curves_stand_beside_those_of_the_same_models() -> None:
    reference = pd.DataFrame({"model": [2, 2, 9], "step": [1, 2, 1], "math_acc": [0.1, 0.2, 0.3]})
    figure = learning_curves(runs(2, 4), "math_acc", PRETRAIN_COLORS, "title", reference)
    [curve] = [line for line in lines(figure) if "reference" in line.meta["keys"]]
    assert (curve.line.color, curve.line.dash) == ("#00BBBB", "dot")
    assert (curve.x.tolist(), curve.y.tolist()) == ([1, 2], [0.1, 0.2])
    assert curve.line.width < 3
    assert curve.meta["keys"] == ["reference", "model 2"]
    assert entries(figure)["reference"].name == "reference"


def test_a_page_is_small_offline_and_ready_for_any_screen(tmp_path: Path) -> None:
    write_figure(pretrain_figure(runs(2, 4, 6)), tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert page.startswith('<!doctype html>\n<html lang="en">')
    assert '<meta charset="utf-8">' in page
    assert '<meta name="viewport" content="width=device-width, initial-scale=1">' in page
    assert "<title>Pretrain Data:1, eval/math_acc</title>" in page
    assert '<script src="plotly.min.js" defer></script>' in page
    assert len(page) < 30_000
    assert not re.search("https?:", page)


def test_the_same_metrics_give_the_same_pages_however_long_training_took(tmp_path: Path) -> None:
    pages = []
    for name, seconds in (("fast", 1.0), ("slow", 7.5)):
        plot_curves(
            write_runs(tmp_path, runs(2, 4, seconds=seconds)),
            1,
            PRETRAIN_COLORS,
            baselines=baselines_table(tmp_path, baselines()),
            overview=tmp_path / name / "overview.html",
            accuracy=tmp_path / name / "accuracy.html",
            loss=tmp_path / name / "loss.html",
        )
        pages.append([path.read_bytes() for path in sorted((tmp_path / name).iterdir())])
    assert pages[0] == pages[1]
    assert len(set(pages[0])) == 3


def test_the_finetuning_pages_show_accuracy_and_losses(tmp_path: Path) -> None:
    reference = tmp_path / "reference.csv"
    reference.write_text("model,step,domain_acc\n2,1000,0.5\n2,2000,0.75\n")
    plot_curves(
        write_runs(tmp_path, finetuned("full", "frozen")),
        1,
        FINETUNE_COLORS,
        baselines=baselines_table(tmp_path, baselines("finetune")),
        domain=1,
        overview=tmp_path / "overview.html",
        accuracy=tmp_path / "accuracy.html",
        loss=tmp_path / "loss.html",
        reference=reference,
    )
    titles = {
        "overview": "eval/domain_acc, eval/loss, train/loss",
        "accuracy": "eval/domain_acc",
        "loss": "eval/loss",
    }
    for name, axes in titles.items():
        page = (tmp_path / f"{name}.html").read_text()
        assert f"<title>Finetune Domain: 1 Pretrain Data:1, {axes}</title>" in page
        assert ('"reference"' in page) == ('"baseline 0.250"' in page) == (name != "loss")


def test_metrics_of_another_data_or_domain_version_are_refused(tmp_path: Path) -> None:
    pages: dict[str, Any] = {
        name: tmp_path / f"{name}.html" for name in ("overview", "accuracy", "loss")
    }
    pages["baselines"] = baselines_table(tmp_path, baselines())
    paths = write_runs(tmp_path, runs(2, data=3))
    with pytest.raises(ValueError, match=r"data versions \[3\]; the figure is of 1"):
        plot_curves(paths, 1, PRETRAIN_COLORS, **pages)
    with pytest.raises(ValueError, match=r"data versions \[\]; the figure is of 1"):
        plot_curves([], 1, PRETRAIN_COLORS, **pages)
    with pytest.raises(ValueError, match=r"domain versions \[1\]; the figure is of 2"):
        plot_curves(write_runs(tmp_path, finetuned("full")), 1, FINETUNE_COLORS, domain=2, **pages)
    assert not pages["overview"].exists()


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    hostile = "</script><script>alert(1)</script><b>bold</b>"
    figure = learning_curves(
        pd.concat([finetuned("full"), finetuned(hostile)]), "domain_acc", FINETUNE_COLORS, hostile
    )
    write_figure(figure, tmp_path / "page.html", 'x.js"><script>alert(2)</script>')
    page = (tmp_path / "page.html").read_text()
    assert "alert(1)</script>" not in page
    assert "alert(2)</script>" not in page
    assert page.count("<script") == page.count("</script>") == 3  # plotly.js, ours, the figure
    assert "<b>" not in json.dumps([figure.layout.title.text, lines(figure)[-1].hovertemplate])
    assert figure.layout.title.text.endswith("&lt;b&gt;bold&lt;/b&gt;")


def test_all_pages_can_share_one_plotly_js(tmp_path: Path) -> None:
    copy_plotly(tmp_path / "plotly.min.js")
    assert "plotly.js v" in (tmp_path / "plotly.min.js").read_text(encoding="utf-8")[:200]


def test_reference_curves_are_read_by_model_and_step(tmp_path: Path) -> None:
    path = tmp_path / "reference.csv"
    path.write_text("model,step,math_acc,correct\n4,2,0.5,280\n2,2,0.25,140\n2,1,0,0\n")
    reference = read_reference(path, "math_acc")
    assert reference.to_dict("list") == {
        "model": [2, 2, 4],
        "step": [1, 2, 2],
        "math_acc": [0.0, 0.25, 0.5],
    }
    with pytest.raises(ValueError, match=r"reference.csv: has the columns .*domain_acc"):
        read_reference(path, "domain_acc")


@settings(max_examples=200, deadline=None)
@given(content=damaged(b"model,step,math_acc\n2,1,0.25\n4,1,0.5\n"))
def test_a_damaged_reference_curve_is_read_or_refused_in_one_line(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.mktemp("damaged") / "reference.csv"
    path.write_bytes(content)
    try:
        reference = read_reference(path, "math_acc")
    except ValueError as error:
        assert str(error).startswith(f"{path}: ")
        assert len(str(error).splitlines()) == 1
    else:
        assert reference["math_acc"].between(0, 1).all()
