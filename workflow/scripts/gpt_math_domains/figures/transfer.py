"""Transfer: how many steps finetuning needs, by protocol and model."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from gpt_math_domains.figures.drawing import write_figure
from gpt_math_domains.figures.looks import (
    finetune_title,
    model_looks,
    panel_height,
    protocols,
    require_only,
    set_layout,
    text_of,
)
from gpt_math_domains.results.metrics import accuracy_curves, read_runs
from gpt_math_domains.results.statistics import first_steps
from gpt_math_domains.results.summary import summarize

THRESHOLDS = (0.9, 0.99)  # of those in the summary
_BAND = 0.7  # height of a protocol's band, in which the models lie below each other


def transfer(metrics: pd.DataFrame, colors: Sequence[str], title: str) -> go.Figure:
    """Draw the first evaluated step with a domain_acc of at least 0.9, and of at least 0.99.

    Each protocol and model version has a small point for each seed and, if all of them got there,
    their mean with its 95% interval (Student t). A seed that did not get there is an open triangle
    at its last step: it needs more than that.

    Args:
        metrics: runs of one data and domain version, as `metrics.read_metrics` returns them.
        colors: colours of the model versions in ascending order; repeated if they are too few.
        title: the figure's title.
    """
    names, looks = protocols(metrics), model_looks(metrics, colors)
    figure = make_subplots(
        rows=len(THRESHOLDS),
        shared_xaxes=True,
        vertical_spacing=0.14,
        subplot_titles=[f"domain_acc ≥ {limit}" for limit in THRESHOLDS],
    )
    summary = summarize([metrics])
    for row, limit in enumerate(THRESHOLDS, start=1):
        seeds = seed_steps(metrics, limit)
        for place, (model, look) in enumerate(looks.items()):
            offset = ((place + 0.5) / len(looks) - 0.5) * _BAND
            means = summary[(summary["model"] == model) & summary[f"step_{limit}_mean"].notna()]
            mean, low, high = (means[f"step_{limit}_{part}"] for part in ("mean", "low", "high"))
            own = seeds[seeds["model"] == model]
            reached, not_reached = own[own["reached"]], own[~own["reached"]]
            small = {"size": 6, "symbol": f"{look['symbol']}-open"}
            censored = {"size": 10, "symbol": "triangle-right-open"}
            for table, steps, marker, errors, words in (
                (reached, reached["step"], small, None, "seed %{customdata[1]}: step %{x:,}"),
                (
                    not_reached,
                    not_reached["step"],
                    censored,
                    None,
                    "seed %{customdata[1]}: not by its last step, %{x:,}",
                ),
                (
                    means.assign(seed=0),
                    mean,
                    {"size": 12, "symbol": look["symbol"]},
                    {"array": high - mean, "arrayminus": mean - low, "thickness": 2},
                    "mean step %{x:,.0f}",
                ),
            ):
                figure.add_scatter(
                    x=steps.to_numpy(),
                    y=[names.index(protocol) + offset for protocol in table["protocol"]],
                    error_x=errors,
                    mode="markers",
                    marker=marker | {"color": look["color"]},
                    name=str(model),
                    legendgroup=str(model),
                    showlegend=False,
                    customdata=[
                        (text_of(protocol), seed)
                        for protocol, seed in zip(table["protocol"], table["seed"], strict=True)
                    ],
                    hovertemplate=f"model {model}, %{{customdata[0]}}<br>domain_acc ≥ {limit}<br>"
                    f"{words}<extra></extra>",
                    row=row,
                    col=1,
                )
    for model, look in looks.items():  # in the legend, also where no mean is drawn
        marker = look | {"size": 12}
        figure.add_scatter(
            x=[None],
            hoverinfo="skip",
            y=[None],
            mode="markers",
            marker=marker,
            name=str(model),
            legendgroup=str(model),
            row=1,
            col=1,
        )
    set_layout(figure, title, height=panel_height(len(THRESHOLDS)))
    figure.update_xaxes(type="log", rangemode="normal", showticklabels=True, dtick=1)
    figure.update_xaxes(title_text="first step (▷ not reached: more)", row=len(THRESHOLDS))
    figure.update_yaxes(
        tickvals=list(range(len(names))),
        ticktext=[text_of(name) for name in names],
        range=[len(names) - 0.5, -0.5],
        showgrid=False,
        automargin=True,
    )
    return figure


def seed_steps(metrics: pd.DataFrame, limit: float) -> pd.DataFrame:
    """Return when each seed of finetuning runs first had an accuracy.

    Returns:
        `protocol`, `model`, `seed`, `step` and `reached`; where that is False, the step is the
        last that was evaluated.
    """
    rows = []
    for (protocol, model), run in metrics.groupby(["protocol", "model"]):
        curves = accuracy_curves(run)
        for seed, step in first_steps(curves, limit).items():
            reached = not pd.isna(step)
            rows.append((protocol, model, seed, step if reached else curves.index[-1], reached))
    return pd.DataFrame(rows, columns=["protocol", "model", "seed", "step", "reached"]).astype(
        {"step": "int64", "reached": bool}
    )


def plot_transfer(
    inputs: Sequence[str | Path],
    domain: int,
    data: int,
    colors: Sequence[str],
    output: str | Path,
) -> None:
    """Write the page about the steps that finetuning on a domain and data version needs.

    Args:
        inputs: the runs' metrics.
        domain: the domain version.
        data: the data version.
        colors: see `transfer`.
        output: the page.

    Raises:
        ValueError: a table is malformed or of other runs.
    """
    metrics = read_runs(inputs, "finetune")
    require_only(metrics, "domain", domain)
    require_only(metrics, "data", data)
    write_figure(transfer(metrics, colors, f"{finetune_title(domain, data)}, transfer"), output)
