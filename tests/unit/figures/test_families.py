from pathlib import Path

import plotly.graph_objects as go
import pytest

from gpt_math_domains.figures.drawing import read_drawing
from gpt_math_domains.figures.families import family_curves, plot_families
from gpt_math_domains.results.metrics import read_parts, write_parts
from metric_rows import baselines_table, family_baselines

STEPS = (1, 2, 4)
FAMILIES = (("add", None), ("add", 2), ("add", 10), ("multiply", 2))


def rows(models: tuple[int, ...] = (2, 4), seeds: int = 2) -> list[dict[str, object]]:
    return [
        {
            **{"phase": "pretrain", "data": 1, "model": model, "domain": None, "protocol": None},
            **{"seed": seed, "step": step, "operation": operation, "modulo": modulo},
            **{"equations": 7 + place, "accuracy": 0.1 * place + 0.01 * step + 0.2 * seed},
        }
        for model in models
        for seed in range(seeds)
        for step in STEPS
        for place, (operation, modulo) in enumerate(FAMILIES)
    ]


def drawn(tmp_path: Path, **kinds: object) -> go.Figure:
    path = tmp_path / "families.csv"
    write_parts(rows(**kinds), "pretrain", path)  # type: ignore[arg-type]
    return family_curves(read_parts([path], "pretrain"), "title")


def lines(figure: go.Figure) -> list[go.Scatter]:
    return [trace for trace in figure.data if trace.fill is None]


def test_each_operation_has_a_column_and_each_model_a_row(tmp_path: Path) -> None:
    figure = drawn(tmp_path)
    assert [title.text for title in figure.layout.annotations] == ["add", "multiply"]
    named = [axis.title.text for axis in figure.select_yaxes() if axis.title.text]
    assert named == ["model 2: accuracy", "model 4: accuracy"]
    assert [(line.yaxis, line.name) for line in lines(figure)] == [
        *(("y", "none"), ("y", "2"), ("y", "10"), ("y2", "2")),
        *(("y3", "none"), ("y3", "2"), ("y3", "10"), ("y4", "2")),
    ]


def test_a_line_is_the_mean_over_seeds_of_one_family(tmp_path: Path) -> None:
    line = lines(drawn(tmp_path))[1]
    assert line.x.tolist() == list(STEPS)
    assert line.y.tolist() == pytest.approx([0.1 + 0.1 + 0.01 * step for step in STEPS])
    assert line.hovertemplate.startswith("add, modulus 2, model 2<br>8 validation equations<br>")


def test_a_band_spans_several_seeds(tmp_path: Path) -> None:
    band = drawn(tmp_path).data[0]
    assert band.fill == "toself"
    assert band.y.tolist() == pytest.approx([0.21, 0.22, 0.24, 0.04, 0.02, 0.01])
    assert len(lines(drawn(tmp_path, seeds=1))) == len(drawn(tmp_path, seeds=1).data)


def test_a_family_has_its_baseline_in_its_colour_and_hides_with_it(tmp_path: Path) -> None:
    path = tmp_path / "families.csv"
    write_parts(rows(), "pretrain", path)
    known = family_baselines({("add", None): 0.2, ("multiply", 2): 0.8})
    figure = family_curves(read_parts([path], "pretrain"), "title", known)
    dotted = [trace for trace in figure.data if trace.line.dash == "dot"]
    assert [(line.yaxis, line.y[0], line.legendgroup) for line in dotted] == [
        *(("y", 0.2, "none"), ("y2", 0.8, "2"), ("y3", 0.2, "none"), ("y4", 0.8, "2"))
    ]
    own = next(line for line in lines(figure) if line.name == "2")
    assert dotted[1].line.color == own.line.color


def test_a_modulus_looks_alike_everywhere_and_stands_in_the_legend_once(tmp_path: Path) -> None:
    figure = drawn(tmp_path)
    assert [line.name for line in figure.data if line.showlegend] == ["none", "2", "10"]
    looks = {(line.name, line.line.color, line.marker.symbol) for line in lines(figure)}
    assert len(looks) == 3
    assert len({look[1:] for look in looks}) == 3


def test_a_page_shows_one_data_version_and_is_scrolled_where_it_is_narrow(tmp_path: Path) -> None:
    path, page = tmp_path / "families.csv", tmp_path / "page.html"
    write_parts(rows(), "pretrain", path)
    known = baselines_table(tmp_path, family_baselines({("add", 2): 0.4}))
    plot_families([path], 1, page, baselines=known)
    assert read_drawing(page).layout["title"]["text"] == "Pretrain Data:1, families"
    assert 'class="pan"' in page.read_text()
    with pytest.raises(ValueError, match=r"data versions \[1\]; the figure is of 3"):
        plot_families([path], 3, page, baselines=known)
