"""Learning curves of the study as interactive pages that work offline."""

from collections.abc import Iterator, Sequence
from itertools import cycle
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from gpt_math_domains.figures.drawing import write_figure
from gpt_math_domains.figures.looks import (
    ACCURACY_RANGE,
    AXES,
    DASHES,
    MARKERS,
    add_step_buttons,
    finetune_title,
    model_looks,
    pretrain_title,
    protocols,
    require_only,
    set_layout,
    text_of,
)
from gpt_math_domains.results.metrics import read_runs
from gpt_math_domains.results.reference import read_reference
from gpt_math_domains.run import ACCURACY


def learning_curves(
    metrics: pd.DataFrame,
    metric: str,
    colors: Sequence[str],
    title: str,
    reference: pd.DataFrame | None = None,
) -> go.Figure:
    """Draw a metric over the optimizer steps, one line for each model version.

    A line is the mean over seeds; the band around it spans the lowest and the highest seed. Of
    several protocols, `full` (or else the first) is drawn and the others wait in the legend.

    Args:
        metrics: runs of one data (and domain) version, as `metrics.read_metrics` returns them.
        metric: `math_acc`, `domain_acc`, `eval_loss` or `train_loss`.
        colors: colours of the model versions in ascending order; repeated if they are too few.
        title: the figure's title.
        reference: curves of the same metric to set beside these as thin dotted lines, as
            `read_reference` returns them.
    """
    figure = go.Figure(list(_curves(metrics, metric, colors)))
    if reference is not None:
        figure.add_traces(list(_reference_curves(reference, metric, metrics, colors)))
    _set_layout(figure, [metric], title)
    return figure


def overview_curves(
    metrics: pd.DataFrame,
    accuracy: str,
    colors: Sequence[str],
    title: str,
    reference: pd.DataFrame | None = None,
) -> go.Figure:
    """Draw accuracy, eval loss and train loss below each other; one legend rules all three.

    Args:
        metrics: see `learning_curves`.
        accuracy: `math_acc` or `domain_acc`.
        colors: see `learning_curves`.
        title: the figure's title.
        reference: curves of the accuracy; see `learning_curves`.
    """
    names = [accuracy, "eval_loss", "train_loss"]
    figure = make_subplots(
        rows=3, shared_xaxes=True, row_heights=[0.5, 0.25, 0.25], vertical_spacing=0.04
    )
    for row, metric in enumerate(names, start=1):
        curves = list(_curves(metrics, metric, colors, in_legend=row == 1))
        figure.add_traces(curves, rows=row, cols=1)
    if reference is not None:
        curves = list(_reference_curves(reference, accuracy, metrics, colors))
        figure.add_traces(curves, rows=1, cols=1)
    _set_layout(figure, names, title, height=960)
    figure.update_xaxes(showticklabels=True)  # most windows do not show all three at once
    return figure


def plot_curves(
    inputs: Sequence[str | Path],
    data: int,
    colors: Sequence[str],
    *,
    overview: str | Path,
    accuracy: str | Path,
    loss: str | Path,
    domain: int | None = None,
    reference: str | Path | None = None,
) -> None:
    """Write the three pages of a data version's runs: of pretraining, or of a domain version.

    Args:
        inputs: the runs' metrics, of any models and protocols.
        data: the data version.
        colors: see `learning_curves`.
        overview: the page with accuracy and losses.
        accuracy: the page with the accuracy alone.
        loss: the page with the eval loss alone.
        domain: the domain version, in finetuning.
        reference: a table of the accuracy to set beside the runs' own; see `read_reference`.

    Raises:
        ValueError: a table is malformed or of other runs.
    """
    phase = "pretrain" if domain is None else "finetune"
    metrics, metric = read_runs(inputs, phase), ACCURACY[phase]
    require_only(metrics, "data", data)
    if domain is not None:
        require_only(metrics, "domain", domain)
    title = pretrain_title(data) if domain is None else finetune_title(domain, data)
    known = None if reference is None else read_reference(reference, metric)
    write_figure(overview_curves(metrics, metric, colors, title, known), overview)
    write_figure(learning_curves(metrics, metric, colors, title, known), accuracy)
    write_figure(learning_curves(metrics, "eval_loss", colors, title), loss)


def _curves(
    metrics: pd.DataFrame, metric: str, colors: Sequence[str], in_legend: bool = True
) -> Iterator[go.Scatter]:
    """Yield a line for each protocol and model version, each of several seeds after its band."""
    looks = model_looks(metrics, colors)
    drawn, *others = protocols(metrics)
    for protocol, dash in zip([drawn, *others], cycle(DASHES), strict=False):
        runs = metrics[metrics["protocol"].fillna("") == protocol]
        heading = text_of(protocol) if others or protocol not in ("", "full") else None
        unheaded = heading  # a legend heading stands once, above its first entry
        for model, look in looks.items():
            run = runs[runs["model"] == model]
            if run.empty:
                continue
            values = run.pivot(index="step", columns="seed", values=metric)
            several = values.shape[1] > 1
            # A click in the legend takes the whole group, so the band goes with its line.
            common = {
                "name": str(model),
                "legendgroup": f"{protocol} {model}",
                "visible": True if protocol == drawn else "legendonly",
            }
            if several:
                yield _band(values, fillcolor=look["color"], **common)
            yield go.Scatter(
                x=values.index.to_numpy(),
                y=values.mean(axis=1, skipna=False).to_numpy(),
                mode="lines+markers",
                line={"color": look["color"], "width": 3, "dash": dash},
                marker=look | {"size": 8, "maxdisplayed": MARKERS},
                showlegend=in_legend,
                legendgrouptitle={"text": unheaded},
                customdata=_range(values) if several else None,
                hovertemplate=_hover(metric, values.shape[1], model, heading),
                **common,
            )
            unheaded = None


def _band(values: pd.DataFrame, **style: object) -> go.Scatter:
    """Return the translucent area from the lowest to the highest seed of (step, seed) values."""
    # A step at which a seed has no value (a loss that diverged) has no band.
    known = values.replace([np.inf, -np.inf], np.nan).dropna()
    low, high = _range(known).T
    return go.Scatter(
        x=np.concatenate([known.index, known.index[::-1]]),
        y=np.concatenate([high, low[::-1]]),
        mode="lines",
        line={"width": 0},
        fill="toself",
        opacity=0.2,
        hoverinfo="skip",
        showlegend=False,
        **style,
    )


def _range(values: pd.DataFrame) -> npt.NDArray[np.float64]:
    """Return the lowest and highest seed of (step, seed) values, of shape (steps, 2)."""
    return np.column_stack([values.min(axis=1), values.max(axis=1)])


def _hover(metric: str, seeds: int, model: int, heading: str | None) -> str:
    """Return the hover text of a line: what, where, how much, over how many seeds."""
    digits = ".4f" if metric in ACCURACY.values() else ".4g"
    spread = f"%{{customdata[0]:{digits}}} to %{{customdata[1]:{digits}}}"
    lines = [
        f"model {model}" if heading is None else f"model {model}, {heading}",
        "step %{x:,}",
        f"{AXES[metric]} %{{y:{digits}}}",
        f"mean of {seeds} seeds ({spread})" if seeds > 1 else "1 seed",
    ]
    return "<br>".join(lines) + "<extra></extra>"


def _reference_curves(
    reference: pd.DataFrame, metric: str, metrics: pd.DataFrame, colors: Sequence[str]
) -> Iterator[go.Scatter]:
    """Yield the reference curve of each model version that the metrics have."""
    heading: str | None = "reference"
    for model, look in model_looks(metrics, colors).items():
        curve = reference[reference["model"] == model]
        if curve.empty:
            continue
        yield go.Scatter(
            x=curve["step"].to_numpy(),
            y=curve[metric].to_numpy(),
            mode="lines+markers",
            line={"color": look["color"], "width": 1.5, "dash": "dot"},
            marker=look | {"size": 5, "opacity": 0.5, "maxdisplayed": 100},
            zorder=-1,  # behind the study's own
            name=str(model),
            legendgroup=f"reference {model}",
            legendgrouptitle={"text": heading},
            hovertemplate=f"model {model}, reference<br>step %{{x:,}}<br>"
            f"{AXES[metric]} %{{y:.4f}}<extra></extra>",
        )
        heading = None


def _set_layout(
    figure: go.Figure, metrics: Sequence[str], title: str, height: int | None = None
) -> None:
    """Give a figure its title, axes and looks; plot `i` from the top shows `metrics[i]`."""
    set_layout(figure, title, height=height)
    figure.update_xaxes(title_text="step", row=len(metrics) if len(metrics) > 1 else None)
    for metric, axis in zip(metrics, figure.select_yaxes(), strict=True):
        axis.update(title_text=AXES[metric])
        if metric in ACCURACY.values():
            axis.update(range=ACCURACY_RANGE)
    add_step_buttons(figure)
