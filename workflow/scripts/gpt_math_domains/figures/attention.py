"""Where the heads of a model look: attention weights by head and symbol."""

from pathlib import Path

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from gpt_math_domains.figures.drawing import write_figure
from gpt_math_domains.figures.looks import (
    MENU,
    pretrain_title,
    require_only,
    set_layout,
    text_of,
)
from gpt_math_domains.results.inside import ATTENTION

_CELL = 21  # pixels that a weight needs
_SCALE = {
    "colorscale": "Viridis",  # for any colour vision
    "cmin": 0,
    "cmax": 1,
    "colorbar": {
        **{"thickness": 14, "outlinewidth": 0, "x": 1.03},
        "title": {"text": "attention", "side": "right"},
    },
}


def attention_heatmap(table: pd.DataFrame, title: str) -> go.Figure:
    """Draw the attention of all heads of one model: a row for each layer, a column for each head.

    In each square, the rows are the symbols that attend, from the first at the top, and the columns
    the symbols that they attend to. Two menus choose the equation and the seed.

    Args:
        table: of one model version, as `ATTENTION.read` returns it.
        title: the figure's title.
    """
    equations = list(dict.fromkeys(table["equation"]))
    seeds = sorted(table["seed"].unique().tolist())
    layers, heads = int(table["layer"].max()), int(table["head"].max()) + 1
    side = int(table["query"].max()) + 1
    groups = table.groupby(["equation", "seed"])
    tiles = {key: _tiles(rows, layers, heads, side) for key, rows in groups}
    figure = go.Figure()
    for equation in equations:
        figure.add_heatmap(
            z=tiles[equation, seeds[0]],
            x=list(range(heads * (side + 1) - 1)),
            y=list(range(layers * (side + 1) - 1)),
            coloraxis="coloraxis",
            xgap=1,
            ygap=1,
            hoverongaps=False,
            hovertemplate="%{y} attends to %{x}: %{z:.3f}<extra></extra>",
            visible=equation == equations[0],
        )
    _add_titles(figure, layers, heads, side)
    set_layout(figure, title, height=max(420, 190 + _CELL * layers * (side + 1)))
    width = 170 + _CELL * heads * (side + 1)
    figure.update_layout(coloraxis=_SCALE, meta={"min_width": width}, margin={"b": 110, "t": 90})
    common = {"showgrid": False, "showline": False, "ticks": "", "tickfont": {"size": 11}}
    figure.update_xaxes(
        **common, tickvals=_places(heads, side), tickangle=0, title_text="attended to"
    )
    figure.update_yaxes(
        **common, tickvals=_places(layers, side), autorange="reversed", title_text="attends"
    )
    names = {equation: _axis_texts(equation, layers, heads, side) for equation in equations}
    for axis, texts in names[equations[0]].items():
        figure.update_layout({axis.replace(".", "_"): texts})
    by_equation = [
        {
            "label": text_of(equation),
            "method": "update",
            "args": [{"visible": [equation == other for other in equations]}, names[equation]],
        }
        for equation in equations
    ]
    by_seed = [
        {
            "label": f"seed {seed}",
            "method": "restyle",
            "args": [{"z": [tiles[equation, seed].tolist() for equation in equations]}],
        }
        for seed in seeds
    ]
    place = {"type": "dropdown", "direction": "up", "active": 0, "x": 0, "xanchor": "left"}
    menus = [
        MENU | place | {"pad": {"t": 50, "l": left}, "buttons": buttons}
        for left, buttons in ((0, by_equation), (180, by_seed))
        if len(buttons) > 1
    ]
    figure.update_layout(updatemenus=menus)
    return figure


def plot_attention(input_csv: str | Path, data: int, model: int, output: str | Path) -> None:
    """Write the page about the attention of a model.

    Args:
        input_csv: the table of its attention.
        data: the data version.
        model: the model version.
        output: the page.

    Raises:
        ValueError: the table is malformed or of another model.
    """
    table = ATTENTION.read([input_csv])
    require_only(table, "data", data)
    require_only(table, "model", model)
    figure = attention_heatmap(table, f"{pretrain_title(data)}, model {model}, attention")
    write_figure(figure, output)


def _places(tiles: int, side: int) -> list[int]:
    """Return where the symbols of some squares beside each other stand, a gap between squares."""
    return [tile * (side + 1) + place for tile in range(tiles) for place in range(side)]


def _axis_texts(equation: str, layers: int, heads: int, side: int) -> dict[str, list[str]]:
    """Return the symbols of an equation for both axes, with empty ones up to the longest."""
    symbols = [text_of(symbol) for symbol in equation.split()]
    symbols += [""] * (side - len(symbols))
    return {"xaxis.ticktext": symbols * heads, "yaxis.ticktext": symbols * layers}


def _add_titles(figure: go.Figure, layers: int, heads: int, side: int) -> None:
    """Write above and beside the squares which head and layer they are of."""
    middle = (side - 1) / 2
    for head in range(heads):
        place = {"x": head * (side + 1) + middle, "y": 1, "yref": "paper", "yanchor": "bottom"}
        figure.add_annotation(text=f"head {head}", showarrow=False, **place)
    for layer in range(layers):
        place = {"y": layer * (side + 1) + middle, "x": 1, "xref": "paper", "xanchor": "left"}
        figure.add_annotation(text=f"layer {layer + 1}", showarrow=False, textangle=90, **place)


def _tiles(rows: pd.DataFrame, layers: int, heads: int, side: int) -> np.ndarray:
    """Return the weights of one equation and seed as squares beside and below each other."""
    grid = np.full((layers, side + 1, heads, side + 1), np.nan)
    grid[rows["layer"] - 1, rows["query"], rows["head"], rows["key"]] = rows["weight"].round(4)
    flat: np.ndarray = grid.reshape(layers * (side + 1), heads * (side + 1))[:-1, :-1]
    return flat
