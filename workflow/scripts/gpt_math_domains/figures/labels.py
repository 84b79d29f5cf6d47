"""How well each domain label is told, over the optimizer steps."""

from collections.abc import Sequence
from itertools import cycle
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from gpt_math_domains.figures.drawing import write_figure
from gpt_math_domains.figures.lines import baseline_line, ends, seed_line
from gpt_math_domains.figures.looks import (
    ACCURACY_RANGE,
    COLORS,
    SYMBOLS,
    add_step_buttons,
    choice_menu,
    finetune_title,
    panel_height,
    protocols,
    require_only,
    set_layout,
    text_of,
)
from gpt_math_domains.results.baselines import of_labels, read_baselines
from gpt_math_domains.results.metrics import read_parts, seed_values


def label_curves(
    table: pd.DataFrame, title: str, baselines: pd.DataFrame | None = None
) -> go.Figure:
    """Draw the accuracy of each label, a plot for each model version and a line for each label.

    A line is the mean over seeds; a thin dotted line of the same colour is the label's baseline. Of
    several protocols, `full` (or else the first) is drawn and a menu chooses another.

    Args:
        table: runs of one data and domain version, as `metrics.read_parts` returns them.
        title: the figure's title.
        baselines: of the domain and data version, as `baselines.read_baselines` returns them.
    """
    known = {} if baselines is None else of_labels(baselines)
    models = sorted(table["model"].unique().tolist())
    labels = list(dict.fromkeys(table["label"]))
    looks = dict(zip(labels, zip(cycle(COLORS), cycle(SYMBOLS), strict=False), strict=False))
    figure = make_subplots(
        rows=len(models),
        shared_xaxes=True,
        vertical_spacing=0.2 / len(models),
        subplot_titles=[f"model {model}" for model in models],
    )
    keys = ["protocol", "model", "label"]
    runs = dict(list(table.fillna({"protocol": ""}).groupby(keys)))
    names, shown = protocols(table), []
    for protocol in names:
        for row, model in enumerate(models, start=1):
            for label, (color, symbol) in looks.items():
                line = seed_line(
                    seed_values(runs.get((protocol, model, label), table[:0]), "accuracy"),
                    {"color": color, "symbol": symbol},
                    f"{text_of(label)}<br>model {model}, {text_of(protocol)}",
                    "accuracy",
                    width=2.5,
                    name=text_of(label),
                    legendgroup=label,
                    showlegend=row == 1,
                    visible=protocol == names[0],
                )
                figure.add_trace(line, row=row, col=1)
                shown.append(protocol)
                if label in known:
                    line = baseline_line(
                        ends(table["step"]),
                        known[label],
                        text_of(label),
                        color=color,
                        in_legend=False,
                        legendgroup=label,
                        meta=None,
                        visible=protocol == names[0],
                    )
                    figure.add_trace(line, row=row, col=1)
                    shown.append(protocol)
    set_layout(figure, title, legend="label", height=panel_height(len(models)))
    figure.update_xaxes(title_text="step", row=len(models))
    figure.update_yaxes(range=ACCURACY_RANGE)
    figure.update_yaxes(title_text="accuracy", row=(len(models) + 1) // 2)
    add_step_buttons(figure)
    choice_menu(figure, names, shown)
    return figure


def plot_labels(
    inputs: Sequence[str | Path],
    domain: int,
    data: int,
    output: str | Path,
    *,
    baselines: str | Path,
) -> None:
    """Write the page about the labels of a domain version on a data version.

    Args:
        inputs: the runs' accuracies of each label.
        domain: the domain version.
        data: the data version.
        output: the page.
        baselines: of the domain and data version.

    Raises:
        ValueError: a table is malformed or of other runs.
    """
    table = read_parts(inputs, "finetune")
    require_only(table, "domain", domain)
    require_only(table, "data", data)
    title = f"{finetune_title(domain, data)}, labels"
    write_figure(label_curves(table, title, read_baselines([baselines])), output)
