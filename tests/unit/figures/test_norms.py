from pathlib import Path

import pandas as pd
import pytest

from gpt_math_domains.figures.drawing import read_drawing
from gpt_math_domains.figures.norms import norm_curves, plot_norms
from gpt_math_domains.results.metrics import write_metrics
from metric_rows import row

COLORS = ["#00BBBB", "#FF4444"]
STEPS = [1000, 2000]


def runs(phase: str = "pretrain", *protocols: str | None) -> pd.DataFrame:
    return pd.DataFrame(
        row(phase, seed, step, model=model, protocol=protocol, grad_norm=0.5 + seed)
        for protocol in protocols or (None,)
        for model in (2, 4)
        for seed in range(2)
        for step in STEPS
    )


def test_the_gradient_stands_above_the_weights_over_the_same_steps() -> None:
    figure = norm_curves(runs(), COLORS, "title")
    assert [axis.title.text for axis in figure.select_yaxes()] == ["gradient norm", "weight norm"]
    assert figure.layout.xaxis.matches == "x2"
    for axis, values in (("y", [1.0, 1.0]), ("y2", [20.0, 20.0])):
        own = [
            line
            for line in figure.data
            if line.yaxis == axis and line.fill is None and line.hoverinfo is None
        ]
        assert [line.name for line in own] == ["2", "4"]
        assert [line.line.color for line in own] == COLORS
        assert {tuple(line.x) for line in own} == {tuple(STEPS)}
        assert {tuple(line.y) for line in own} == {tuple(values)}


def test_only_the_gradients_axis_is_logarithmic() -> None:
    figure = norm_curves(runs(), COLORS, "title")
    assert (figure.layout.yaxis.type, figure.layout.yaxis2.type) == ("log", None)


def test_a_band_spans_the_seeds() -> None:
    band = norm_curves(runs(), COLORS, "title").data[0]
    assert (band.fill, band.y.tolist()) == ("toself", [1.5, 1.5, 0.5, 0.5])


def test_other_protocols_wait_in_the_legend() -> None:
    figure = norm_curves(runs("finetune", "full", "frozen"), COLORS, "title")
    named = {line.name: line.visible for line in figure.data if line.showlegend is not False}
    assert named == {"full": True, "frozen": "legendonly", "2": True, "4": True}


def test_the_page_is_of_one_domain_version(tmp_path: Path) -> None:
    path, page = tmp_path / "metrics.csv", tmp_path / "page.html"
    rows = [dict(r) for r in runs("finetune", "full").to_dict("records")]
    rows = [r for r in rows if r["model"] == 2]
    write_metrics([{str(name): value for name, value in r.items()} for r in rows], "finetune", path)
    plot_norms([path], 1, COLORS, page, domain=1)
    assert read_drawing(page).title == (
        "Finetune Domain: 1 Pretrain Data:1, norms, gradient norm, weight norm"
    )
    with pytest.raises(ValueError, match=r"domain versions \[1\]; the figure is of 2"):
        plot_norms([path], 1, COLORS, page, domain=2)
