"""Which labels linear probes read from each layer of a model, and when in training."""

from collections.abc import Iterator, Sequence
from itertools import cycle
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from gpt_math_domains.figures.drawing import write_figure
from gpt_math_domains.figures.intervals import interval_line
from gpt_math_domains.figures.looks import (
    ACCURACY_RANGE,
    COLORS,
    SYMBOLS,
    add_step_buttons,
    choice_menu,
    panel_height,
    pretrain_title,
    require_only,
    set_layout,
    text_of,
)
from gpt_math_domains.results.inside import PROBES

PRETRAINED = "pretrained"
_RANDOM = {"color": "#888888", "symbol": "circle-open"}
_COLUMN = 215  # pixels that the plots of a label need
# At the left, which is in sight where the figure is scrolled.
_LEGEND = {
    **{"legend_orientation": "h", "legend_x": 0, "legend_y": 0, "legend_yref": "container"},
    **{"legend_yanchor": "bottom", "margin_b": 110},
}


def layer_curves(table: pd.DataFrame, title: str) -> go.Figure:
    """Draw how well each label is read from each layer at the end of training.

    Each model version has a row, each label a column. Beside the pretrained models (and those that
    were finetuned, one line for each protocol) are random weights, those that pretraining began
    with, and what is right if all equations get the more frequent answer. Lines are means over
    seeds with 95% intervals (Student t).

    Args:
        table: runs of one data and domain version, as `PROBES.read` returns them.
        title: the figure's title.
    """
    figure, looks = _grid(table), _looks(table)
    for row, column, part in _panels(table):
        for kind, look in looks.items():
            runs = part[_kinds(part) == kind]
            if runs.empty:
                continue
            ends = runs[runs["step"] == runs["step"].max()]
            figure.add_trace(
                interval_line(
                    ends.pivot(index="layer", columns="seed", values="accuracy"),
                    look,
                    f"{_where(part)}, {text_of(kind)}<br>layer %{{x}}: %{{y:.4f}} are told right",
                    name=text_of(kind),
                    legendgroup=kind,
                    showlegend=row == column == 1,
                ),
                row=row,
                col=column,
            )
        starts = part[(part["phase"] == "pretrain") & (part["step"] == 0)]
        figure.add_trace(
            interval_line(
                starts.pivot(index="layer", columns="seed", values="accuracy"),
                _RANDOM,
                f"{_where(part)}, random weights<br>layer %{{x}}: %{{y:.4f}} are told right",
                dash="dash",
                name="random weights",
                legendgroup="random weights",
                showlegend=row == column == 1,
            ),
            row=row,
            col=column,
        )
        _add_majority(figure, part, "layer", row, column)
    _set_layout(figure, table, title, "layer")
    figure.update_xaxes(dtick=1, rangemode="normal")
    return figure


def step_curves(table: pd.DataFrame, title: str) -> go.Figure:
    """Draw how well each label is read from each layer over the steps of training.

    As `layer_curves`, with a line for each layer. Pretraining is drawn, and a menu chooses
    finetuning that kept checkpoints. A run without checkpoints along training has its ends alone.

    Args:
        table: runs of one data and domain version, as `PROBES.read` returns them.
        title: the figure's title.
    """
    figure, kinds = _grid(table), _kinds(table)
    several = table.groupby(kinds)["step"].nunique() > 1
    choices = [kind for kind in _looks(table) if several[kind]]
    shown = []
    layers = sorted(table["layer"].unique().tolist())
    looks = zip(layers, cycle(COLORS), cycle(SYMBOLS), strict=False)
    by_layer = {layer: {"color": color, "symbol": symbol} for layer, color, symbol in looks}
    for row, column, part in _panels(table):
        for kind in choices:
            runs = part[_kinds(part) == kind]
            before = len(figure.data)
            for layer, look in by_layer.items():
                own = runs[runs["layer"] == layer]
                if own.empty:
                    continue
                figure.add_trace(
                    interval_line(
                        own.pivot(index="step", columns="seed", values="accuracy"),
                        look,
                        f"{_where(part)}, {text_of(kind)}, layer {layer}<br>"
                        "step %{x:,}: %{y:.4f} are told right",
                        name=str(layer) if layer else "0 (embedding)",
                        legendgroup=str(layer),
                        showlegend=row == column == 1,
                        visible=kind == choices[0],
                    ),
                    row=row,
                    col=column,
                )
            if not runs.empty:
                _add_majority(figure, runs, "step", row, column, visible=kind == choices[0])
            shown += [kind] * (len(figure.data) - before)
    _set_layout(figure, table, title, "step")
    figure.update_layout(legend_title_text="layer")
    add_step_buttons(figure)
    choice_menu(figure, choices, shown)
    figure.update_layout(margin_b=150)
    return figure


def plot_probes(
    inputs: Sequence[str | Path], domain: int, data: int, *, layers: str | Path, steps: str | Path
) -> None:
    """Write the pages about what probes read of a domain version's labels on a data version.

    Args:
        inputs: the runs' tables, of pretraining and finetuning.
        domain: the domain version.
        data: the data version.
        layers: the page by layer.
        steps: the page by step.

    Raises:
        ValueError: a table is malformed or of other runs.
    """
    table = PROBES.read(inputs)
    require_only(table, "domain", domain)
    require_only(table, "data", data)
    title = f"Domain: {domain} {pretrain_title(data)}"
    write_figure(layer_curves(table, f"{title}, probes by layer"), layers)
    write_figure(step_curves(table, f"{title}, probes by step"), steps)


def _kinds(table: pd.DataFrame) -> "pd.Series[str]":
    """Return of each row how the models were trained: `pretrained`, or a protocol of finetuning."""
    return table["protocol"].fillna(PRETRAINED).astype(str)


def _looks(table: pd.DataFrame) -> dict[str, dict[str, str]]:
    """Return the look of each kind of run, pretraining first."""
    kinds = sorted(set(_kinds(table)), key=lambda kind: (kind != PRETRAINED, kind != "full", kind))
    looks = zip(cycle(COLORS), cycle(SYMBOLS), strict=False)
    return {
        kind: {"color": color, "symbol": symbol}
        for kind, (color, symbol) in zip(kinds, looks, strict=False)
    }


def _labels(table: pd.DataFrame) -> list[str]:
    return list(dict.fromkeys(table["label"]))


def _grid(table: pd.DataFrame) -> go.Figure:
    """Return a figure with a row for each model version and a column for each label."""
    models = table["model"].nunique()
    return make_subplots(
        rows=models,
        cols=len(_labels(table)),
        shared_yaxes=True,
        horizontal_spacing=0.02,
        vertical_spacing=0.2 / models,
        column_titles=[text_of(label) for label in _labels(table)],
    )


def _panels(table: pd.DataFrame) -> Iterator[tuple[int, int, pd.DataFrame]]:
    """Yield row, column and rows of each plot."""
    for row, model in enumerate(sorted(table["model"].unique().tolist()), start=1):
        for column, label in enumerate(_labels(table), start=1):
            yield row, column, table[(table["model"] == model) & (table["label"] == label)]


def _where(part: pd.DataFrame) -> str:
    return f"{text_of(part['label'].iloc[0])}<br>model {part['model'].iloc[0]}"


def _add_majority(
    figure: go.Figure, part: pd.DataFrame, axis: str, row: int, column: int, visible: bool = True
) -> None:
    """Draw what is right if all equations get the more frequent answer."""
    share = part["majority"].iloc[0]
    figure.add_scatter(
        x=[part[axis].min(), part[axis].max()],
        y=[share, share],
        mode="lines",
        line={"color": "#000000", "width": 1.5, "dash": "dot"},
        hovertemplate=f"{_where(part)}<br>majority %{{y:.4f}}<extra></extra>",
        name="majority",
        legendgroup="majority",
        showlegend=row == column == 1,
        visible=visible,
        row=row,
        col=column,
    )


def _set_layout(figure: go.Figure, table: pd.DataFrame, title: str, axis: str) -> None:
    models = sorted(table["model"].unique().tolist())
    set_layout(figure, title, legend="", height=panel_height(len(models)))
    figure.update_layout(_LEGEND, meta={"min_width": _COLUMN * len(_labels(table))})
    figure.update_xaxes(title_text=axis, row=len(models))
    figure.update_yaxes(range=ACCURACY_RANGE)
    for row, model in enumerate(models, start=1):
        figure.update_yaxes(title_text=f"model {model}: accuracy", row=row, col=1)
