"""How the digit symbols lie in embeddings: principal components and Fourier spectra."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from gpt_math_domains.figures.drawing import write_figure
from gpt_math_domains.figures.intervals import error_bars
from gpt_math_domains.figures.looks import (
    COLORS,
    MENU,
    pretrain_title,
    require_only,
    set_layout,
)
from gpt_math_domains.results.inside import COMPONENTS, SPECTRUM

_MATRIX = {
    "embedding": "embedding",
    "unembedding": "unembedding",
    "tied": "embedding = unembedding",
}
_COMPONENT = "component {number}: {share:.0%}"


def digit_geometry(components: pd.DataFrame, spectrum: pd.DataFrame, title: str) -> go.Figure:
    """Draw where the digit symbols lie, and how they vary with each frequency.

    A row is a matrix of a model version. At the left are the digits along the first two principal
    components, of a seed that a menu chooses, a line from each digit to the next. At the right is
    the power of each frequency, mean over seeds with its 95% interval (Student t), and that of
    random rows.

    Args:
        components: of one data version, as `COMPONENTS.read` returns them.
        spectrum: of the same.
        title: the figure's title.
    """
    matrices = spectrum[["model", "matrix"]].drop_duplicates().sort_values(["model", "matrix"])
    panels = list(matrices.itertuples(index=False, name=None))
    seeds = sorted(spectrum["seed"].unique().tolist())
    figure = make_subplots(
        rows=len(panels),
        cols=2,
        horizontal_spacing=0.12,
        vertical_spacing=0.3 / len(panels),
        subplot_titles=[
            f"model {model}, {words}"
            for model, matrix in panels
            for words in (_MATRIX[matrix], "Fourier spectrum")
        ],
    )
    axes: dict[int, dict[str, str]] = {seed: {} for seed in seeds}
    shown: list[int | None] = []
    for row, (model, matrix) in enumerate(panels, start=1):
        own = components[(components["model"] == model) & (components["matrix"] == matrix)]
        for seed in seeds:
            two = own[(own["seed"] == seed) & (own["component"] <= 2)]
            shares = two.groupby("component")["share"].first()
            for number, axis in ((1, "xaxis"), (2, "yaxis")):
                axes[seed][f"{axis}{_number(row)}.title.text"] = _COMPONENT.format(
                    number=number, share=shares.get(number, 0.0)
                )
            figure.add_trace(_digits(two, visible=seed == seeds[0]), row=row, col=1)
            shown.append(seed)
        powers = spectrum[(spectrum["model"] == model) & (spectrum["matrix"] == matrix)]
        for trace in _powers(powers, f"model {model}", in_legend=row == 1):
            figure.add_trace(trace, row=row, col=2)
            shown.append(None)
    set_layout(figure, title, legend="", height=220 + 330 * len(panels))
    figure.update_xaxes(col=1, rangemode="normal")
    for row in range(1, len(panels) + 1):
        square = {"scaleanchor": f"x{_number(row)}", "constrain": "domain"}
        figure.update_yaxes(row=row, col=1, rangemode="normal", **square)
    few = {"dtick": 1} if spectrum["frequency"].max() <= 16 else {}
    figure.update_xaxes(col=2, title_text="frequency", rangemode="normal", tickformat="d", **few)
    # An interval over few seeds may be wider than what a share can be.
    figure.update_yaxes(col=2, title_text="share of variance", minallowed=0, maxallowed=1)
    for name, text in axes[seeds[0]].items():
        figure.update_layout({name.replace(".", "_"): text})
    figure.update_layout(
        meta={"min_width": 760},
        legend={"x": 1, "xanchor": "right", "y": 1, "yanchor": "top", "bgcolor": "#FFFFFF"},
    )
    _seed_menu(figure, seeds, shown, axes)
    return figure


def _number(row: int) -> str:
    """Return what plotly adds to the names of the left axes of a row."""
    return str(2 * row - 1) if row > 1 else ""


def _digits(two: pd.DataFrame, visible: bool) -> go.Scatter:
    """Return the digits along two components, or one where there are no two."""
    places = two.pivot(index="digit", columns="component", values="coordinate")
    places = places.reindex(columns=[1, 2], fill_value=0.0)
    return go.Scatter(
        x=places[1].to_numpy(),
        y=places[2].to_numpy(),
        text=[str(digit) for digit in places.index],
        mode="lines+markers+text",
        line={"color": "#BBBBBB", "width": 1},
        marker={"color": COLORS[0], "size": 6},
        textposition="top center",
        textfont={"size": 12},
        hovertemplate="digit %{text}<br>%{x:.3f}, %{y:.3f}<extra></extra>",
        name=f"digits, seed {two['seed'].iloc[0]}",
        showlegend=False,
        visible=visible,
    )


def _powers(powers: pd.DataFrame, told: str, in_legend: bool) -> Iterator[go.Bar | go.Scatter]:
    """Yield the powers of a matrix, mean over seeds, and those of random rows."""
    values = powers.pivot(index="frequency", columns="seed", values="power")
    random = powers.groupby("frequency")["random"].first()
    yield go.Bar(
        x=values.index.to_numpy(),
        y=values.mean(axis=1).to_numpy(),
        error_y={"color": "#222222", **(error_bars(values) or {"visible": False})},
        marker={"color": COLORS[5]},
        hovertemplate=f"{told}, frequency %{{x}}<br>share of variance %{{y:.4f}}<br>"
        f"mean of {values.shape[1]} seeds<extra></extra>",
        name="trained",
        showlegend=in_legend,
    )
    yield go.Scatter(
        x=random.index.to_numpy(),
        y=random.to_numpy(),
        mode="lines+markers",
        line={"color": COLORS[4], "width": 2, "dash": "dash"},
        marker={"color": COLORS[4], "symbol": "diamond", "size": 6},
        hovertemplate="random rows, frequency %{x}<br>%{y:.4f}<extra></extra>",
        name="random rows",
        showlegend=in_legend,
    )


def _seed_menu(
    figure: go.Figure,
    seeds: Sequence[int],
    shown: Sequence[int | None],
    axes: dict[int, dict[str, str]],
) -> None:
    """Let the reader choose the seed, if there is a choice.

    Args:
        figure: to change.
        seeds: of the models.
        shown: the seed that each trace is of; None where it is of all.
        axes: for each seed, the titles of axes by their key in the layout.
    """
    if len(seeds) < 2:
        return
    buttons = [
        {
            "label": f"seed {seed}",
            "method": "update",
            "args": [{"visible": [own in (None, seed) for own in shown]}, axes[seed]],
        }
        for seed in seeds
    ]
    place = {"x": 0, "xanchor": "left", "pad": {"t": 55}, "direction": "up"}
    menu = MENU | place | {"type": "dropdown", "buttons": buttons, "active": 0}
    figure.update_layout(updatemenus=[menu], margin_b=100)


def plot_embedding(
    components: Sequence[str | Path],
    spectrum: Sequence[str | Path],
    data: int,
    output: str | Path,
) -> None:
    """Write the page about the digit symbols in the embeddings of a data version's models.

    Args:
        components: the models' principal components.
        spectrum: the models' spectra.
        data: the data version.
        output: the page.

    Raises:
        ValueError: a table is malformed or of another data version.
    """
    tables = COMPONENTS.read(components), SPECTRUM.read(spectrum)
    for table in tables:
        require_only(table, "data", data)
    write_figure(digit_geometry(*tables, f"{pretrain_title(data)}, digit symbols"), output)
