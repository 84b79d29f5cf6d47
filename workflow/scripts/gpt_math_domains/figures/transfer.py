"""Transfer: how many steps finetuning needs, by protocol and model."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from gpt_math_domains.figures.drawing import write_figure
from gpt_math_domains.figures.looks import (
    NEUTRAL,
    finetune_title,
    panel_height,
    protocols,
    require_only,
    run_looks,
    set_layout,
    text_of,
)
from gpt_math_domains.results.metrics import accuracy_curves, read_runs
from gpt_math_domains.results.statistics import crossings
from gpt_math_domains.results.summary import summarize

THRESHOLDS = (0.9, 0.99)  # of those in the summary
_MEAN = {"mean": "at", "low": "after", "high": "by"}
_LEAST = 0.5  # step that is shown
_BAND = 0.7  # height of a protocol's band, in which the models lie below each other


def transfer(metrics: pd.DataFrame, colors: Sequence[str] | None, title: str) -> go.Figure:
    """Draw the first step with a domain_acc of at least 0.9, and of at least 0.99.

    Each protocol and model version has a small point for each seed, in the middle of a bar between
    the two evaluations between which it gets there and, if all of them do, their mean with its 95%
    interval; see `statistics.first_step`. A seed that did not get there is an open triangle at its
    last step: it needs more than that.

    Args:
        metrics: runs of one data and domain version, as `metrics.read_metrics` returns them.
        colors: see `looks.run_looks`.
        title: the figure's title.
    """
    names, looks = protocols(metrics), run_looks(metrics, colors)
    models = sorted({model for _, model in looks})
    by_protocol = colors is None and len(names) > 1
    figure = make_subplots(
        rows=len(THRESHOLDS),
        shared_xaxes=True,
        vertical_spacing=0.14,
        subplot_titles=[f"domain_acc ≥ {limit}" for limit in THRESHOLDS],
    )
    summary = summarize([metrics])
    for row, limit in enumerate(THRESHOLDS, start=1):
        seeds = seed_steps(metrics, limit)
        means = summary[summary[f"step_{limit}_mean"].notna()].assign(seed=-1)
        means = means.rename(columns={f"step_{limit}_{part}": name for part, name in _MEAN.items()})
        for (protocol, model), look in looks.items():
            place = names.index(protocol) + _offset(models.index(model), len(models))
            own, mean = (
                table[(table["protocol"] == protocol) & (table["model"] == model)]
                for table in (seeds, means)
            )
            reached, not_reached = own[own["by"].notna()], own[own["by"].isna()]
            between = "between steps %{customdata[1]:,} and %{customdata[2]:,}"
            for table, steps, marker, words in (
                (
                    reached,
                    reached["at"],
                    {"size": 6, "symbol": f"{look['symbol']}-open"},
                    f"seed %{{customdata[0]}}: {between}",
                ),
                (
                    not_reached.assign(by=not_reached["after"]),
                    not_reached["after"],
                    {"size": 10, "symbol": "triangle-right-open"},
                    "seed %{customdata[0]}: not by its last step, %{x:,}",
                ),
                (
                    mean,
                    mean["at"],
                    {"size": 12, "symbol": look["symbol"]},
                    "mean step %{x:,.0f} (%{customdata[1]:,.0f} to %{customdata[2]:,.0f})",
                ),
            ):
                ends = table[["after", "by"]].clip(lower=_LEAST)  # the axis is logarithmic
                figure.add_scatter(
                    x=steps.to_numpy(),
                    y=[place] * len(table),
                    error_x={
                        "array": ends["by"] - steps,
                        "arrayminus": steps - ends["after"],
                        "thickness": 2 if marker["size"] == 12 else 1,
                    },
                    mode="markers",
                    marker=marker | {"color": look["color"]},
                    name=str(model),
                    legendgroup=str(model),
                    showlegend=False,
                    customdata=table[["seed", "after", "by"]].to_numpy(),
                    hovertemplate=f"model {model}, {text_of(protocol)}<br>domain_acc ≥ {limit}<br>"
                    f"{words}<extra></extra>",
                    row=row,
                    col=1,
                )
    for model in models:  # in the legend, also where no mean is drawn
        look = looks[names[0], model] | ({"color": NEUTRAL} if by_protocol else {})
        figure.add_scatter(
            x=[None],
            hoverinfo="skip",
            y=[None],
            mode="markers",
            marker=look | {"size": 12},
            name=str(model),
            legendgroup=str(model),
            row=1,
            col=1,
        )
    set_layout(figure, title, height=panel_height(len(THRESHOLDS)))
    figure.update_layout(meta={"description": _described(summary)})
    figure.update_xaxes(type="log", rangemode="normal", showticklabels=True, dtick=1)
    figure.update_xaxes(title_text="step (▷ not reached: more)", row=len(THRESHOLDS))
    figure.update_yaxes(
        tickvals=list(range(len(names))),
        ticktext=[text_of(name) for name in names],
        range=[len(names) - 0.5, -0.5],
        showgrid=False,
        automargin=True,
    )
    return figure


def _described(summary: pd.DataFrame) -> str:
    """Return the mean steps in words, or how many seeds get there."""
    parts = []
    for row in summary.to_dict("records"):
        told = [
            f"{limit} at step {row[f'step_{limit}_mean']:,.0f}"
            if row[f"reached_{limit}"] == row["seeds"]
            else f"{limit} by {row[f'reached_{limit}']} of {row['seeds']} seeds"
            for limit in THRESHOLDS
        ]
        name = f"model {row['model']}, {text_of(row['protocol'])}"
        parts.append(f"{name}: domain_acc of {', of '.join(told)}")
    return "; ".join(parts)


def _offset(place: int, count: int) -> float:
    """Return where one of some models lies in the band of its protocol."""
    return ((place + 0.5) / count - 0.5) * _BAND


def seed_steps(metrics: pd.DataFrame, limit: float) -> pd.DataFrame:
    """Return when each seed of finetuning runs first has an accuracy.

    Returns:
        `protocol`, `model`, `seed` and the columns of `statistics.crossings`.
    """
    frames = []
    for _, run in metrics.groupby(["protocol", "model"]):
        found = crossings(accuracy_curves(run), limit).rename_axis("seed").reset_index()
        keys = {name: run[name].iloc[0] for name in ("protocol", "model")}
        frames.append(found.assign(**keys))
    return pd.concat(frames)


def plot_transfer(
    inputs: Sequence[str | Path],
    domain: int,
    data: int,
    colors: Sequence[str] | None,
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
