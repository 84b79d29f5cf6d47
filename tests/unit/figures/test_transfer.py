from pathlib import Path

import pandas as pd
import plotly.graph_objects as go
import pytest

from gpt_math_domains.figures.drawing import describe
from gpt_math_domains.figures.transfer import plot_transfer, seed_steps, transfer
from gpt_math_domains.results.metrics import write_metrics
from gpt_math_domains.results.summary import summarize
from metric_rows import row

COLORS = ["#BBBBBB", "#888888"]


def runs(curves: dict[tuple[str, int], list[list[float]]]) -> pd.DataFrame:
    """Return finetuning runs by protocol and model: an accuracy curve for each seed."""
    rows = [
        row("finetune", seed=seed, step=10 * (i + 1), accuracy=accuracy, model=model)
        | {"protocol": protocol}
        for (protocol, model), seeds in curves.items()
        for seed, curve in enumerate(seeds)
        for i, accuracy in enumerate(curve)
    ]
    return pd.DataFrame(rows)


STUDY = {
    ("full", 2): [[0.5, 0.95, 1.0], [0.92, 0.95, 0.98]],
    ("scratch", 2): [[0.5, 0.5, 0.91], [0.5, 0.6, 0.7]],
}


def points(figure: go.Figure, axis: str, symbol: str) -> list[tuple[float, float]]:
    """Return where the markers of a plot are that have a symbol."""
    return [
        (float(x), float(y))
        for trace in figure.data
        if trace.yaxis == axis and trace.marker.symbol == symbol and trace.showlegend is False
        for x, y in zip(trace.x, trace.y, strict=True)
    ]


def test_first_steps_keep_the_seeds_that_never_got_there() -> None:
    found = seed_steps(runs(STUDY), 0.9)
    told = found[["protocol", "model", "seed", "after"]].to_numpy().tolist()
    assert told == [
        ["full", 2, 0, 10],
        ["full", 2, 1, 0],
        ["scratch", 2, 0, 20],
        ["scratch", 2, 1, 30],
    ]
    assert found["by"].tolist()[:3] == [20, 10, 30]
    assert found["by"].isna().tolist() == [False, False, False, True]


def test_every_seed_is_a_point_and_those_that_never_got_there_are_open_triangles() -> None:
    figure = transfer(runs(STUDY), COLORS, "title")
    assert points(figure, "y", "circle-open") == [(15, 0), (5, 0), (25, 1)]
    assert points(figure, "y", "triangle-right-open") == [(30, 1)]
    assert points(figure, "y2", "circle-open") == [(25, 0)]
    assert points(figure, "y2", "triangle-right-open") == [(30, 0), (30, 1), (30, 1)]


def test_its_words_tell_the_mean_steps_or_how_many_seeds_get_there() -> None:
    assert describe(transfer(runs(STUDY), COLORS, "title")) == (
        "model 2, full: domain_acc of 0.9 at step 10, of 0.99 by 1 of 2 seeds; "
        "model 2, scratch: domain_acc of 0.9 by 1 of 2 seeds, of 0.99 by 0 of 2 seeds"
    )


def test_a_mean_with_its_interval_stands_only_where_all_seeds_got_there() -> None:
    figure = transfer(runs(STUDY), COLORS, "title")
    assert points(figure, "y", "circle") == [(10, 0)]
    assert points(figure, "y2", "circle") == []
    [mean] = [t for t in figure.data if t.marker.symbol == "circle" and list(t.x) == [10]]
    assert mean.error_x.arrayminus[0] == pytest.approx(10 - 0.5)  # as far as the axis goes


def test_the_bar_of_a_seed_goes_from_one_evaluation_to_the_next() -> None:
    figure = transfer(runs({("full", 2): [[0.5, 0.95, 1.0]]}), COLORS, "title")
    [seed] = [t for t in figure.data if t.marker.symbol == "circle-open" and t.yaxis == "y"]
    assert (seed.x[0], seed.error_x.arrayminus[0], seed.error_x.array[0]) == (15, 5, 5)


def test_means_and_intervals_are_those_of_the_summary() -> None:
    metrics = runs(STUDY)
    figure = transfer(metrics, None, "title")
    summary = summarize([metrics]).iloc[0]
    [mean] = [t for t in figure.data if t.marker.symbol == "circle" and list(t.x) == [10]]
    assert mean.x[0] == summary["step_0.9_mean"]
    assert mean.x[0] + mean.error_x.array[0] == summary["step_0.9_high"]


def test_models_lie_apart_in_the_band_of_their_protocol() -> None:
    both = {(p, m): seeds for (p, _), seeds in STUDY.items() for m in (2, 4)}
    figure = transfer(runs(both), COLORS, "title")
    heights = {y for _, y in points(figure, "y", "circle-open")}
    heights |= {y for _, y in points(figure, "y", "square-open")}
    assert len(heights) == 4
    assert figure.layout.yaxis.ticktext == ("full", "scratch")
    assert {round(y) for y in heights} == {0, 1}
    assert {t.name for t in figure.data if t.showlegend is not False} == {"2", "4"}


def test_one_seed_is_drawn_without_interval_and_a_page_is_written(tmp_path: Path) -> None:
    one = runs({("full", 2): [[0.5, 1.0]]})
    figure = transfer(one, COLORS, "title")
    assert points(figure, "y", "circle") == [(15, 0)]
    write_metrics(
        [{str(k): v for k, v in r.items()} for r in one.to_dict("records")],
        "finetune",
        tmp_path / "metrics.csv",
    )
    plot_transfer([tmp_path / "metrics.csv"], 1, 1, COLORS, tmp_path / "page.html")
    assert "domain_acc" in (tmp_path / "page.html").read_text()
