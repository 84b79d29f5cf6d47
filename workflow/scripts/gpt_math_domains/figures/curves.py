"""Learning curves of the study as interactive pages that work offline."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go

from gpt_math_domains.figures.drawing import write_figure
from gpt_math_domains.figures.lines import (
    has_protocols,
    model_lines,
    read_versions,
    set_step_layout,
    stacked_lines,
)
from gpt_math_domains.figures.looks import AXES, NEUTRAL, protocols, run_looks
from gpt_math_domains.results.baselines import overall, read_baselines
from gpt_math_domains.results.reference import read_reference
from gpt_math_domains.run import ACCURACY


def learning_curves(
    metrics: pd.DataFrame,
    metric: str,
    colors: Sequence[str] | None,
    title: str,
    reference: pd.DataFrame | None = None,
    baseline: float | None = None,
) -> go.Figure:
    """Draw a metric over the optimizer steps, one line for each model version.

    A line is the mean over seeds; the band around it spans the lowest and the highest seed. What
    of several protocols is drawn, `lines.model_lines` tells.

    Args:
        metrics: runs of one data (and domain) version, as `metrics.read_metrics` returns them.
        metric: `math_acc`, `domain_acc`, `eval_loss` or `train_loss`.
        colors: see `looks.run_looks`.
        title: the figure's title.
        reference: curves of the same metric to set beside these as thin dotted lines, as
            `read_reference` returns them.
        baseline: the accuracy to beat, if the metric is one.
    """
    figure = go.Figure(list(model_lines(metrics, metric, colors, baseline)))
    if reference is not None:
        figure.add_traces(list(_reference_curves(reference, metric, metrics, colors)))
    set_step_layout(figure, [metric], title, has_protocols(metrics))
    return figure


def overview_curves(
    metrics: pd.DataFrame,
    accuracy: str,
    colors: Sequence[str] | None,
    title: str,
    reference: pd.DataFrame | None = None,
    baseline: float | None = None,
) -> go.Figure:
    """Draw accuracy, eval loss and train loss below each other; one legend rules all three.

    Args:
        metrics: see `learning_curves`.
        accuracy: `math_acc` or `domain_acc`.
        colors: see `learning_curves`.
        title: the figure's title.
        reference: curves of the accuracy; see `learning_curves`.
        baseline: of the accuracy; see `learning_curves`.
    """
    figure = stacked_lines(
        metrics,
        [accuracy, "eval_loss", "train_loss"],
        colors,
        title,
        height=960,
        row_heights=[0.5, 0.25, 0.25],
        baseline=baseline,
    )
    if reference is not None:
        curves = list(_reference_curves(reference, accuracy, metrics, colors))
        figure.add_traces(curves, rows=1, cols=1)
    return figure


def plot_curves(
    inputs: Sequence[str | Path],
    data: int,
    colors: Sequence[str] | None,
    *,
    baselines: str | Path,
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
        baselines: of the data (and domain) version.
        overview: the page with accuracy and losses.
        accuracy: the page with the accuracy alone.
        loss: the page with the eval loss alone.
        domain: the domain version, in finetuning.
        reference: a table of the accuracy to set beside the runs' own; see `read_reference`.

    Raises:
        ValueError: a table is malformed or of other runs.
    """
    metrics, title = read_versions(inputs, data, domain)
    metric = ACCURACY["pretrain" if domain is None else "finetune"]
    known = None if reference is None else read_reference(reference, metric)
    baseline = overall(read_baselines([baselines]), metrics.iloc[0].to_dict())
    write_figure(overview_curves(metrics, metric, colors, title, known, baseline), overview)
    write_figure(learning_curves(metrics, metric, colors, title, known, baseline), accuracy)
    write_figure(learning_curves(metrics, "eval_loss", colors, title), loss)


def _reference_curves(
    reference: pd.DataFrame, metric: str, metrics: pd.DataFrame, colors: Sequence[str] | None
) -> Iterator[go.Scatter]:
    """Yield the reference curve of each model version that the metrics have."""
    first, known = protocols(metrics)[0], set(reference["model"])
    for (protocol, model), look in run_looks(metrics, colors).items():
        if protocol != first or model not in known:
            continue
        curve = reference[reference["model"] == model]
        yield go.Scatter(
            x=curve["step"].to_numpy(),
            y=curve[metric].to_numpy(),
            mode="lines+markers",
            line={"color": look["color"], "width": 1.5, "dash": "dot"},
            marker=look | {"size": 5, "opacity": 0.5, "maxdisplayed": 100},
            zorder=-1,  # behind the study's own
            name=f"reference of model {model}",
            meta={"keys": ["reference", f"model {model}"]},
            showlegend=False,
            hovertemplate=f"model {model}, reference<br>step %{{x:,}}<br>"
            f"{AXES[metric]} %{{y:.4f}}<extra></extra>",
        )
    if known.intersection(metrics["model"]):
        yield go.Scatter(
            x=[None],
            y=[None],
            mode="lines",
            line={"color": NEUTRAL, "width": 1.5, "dash": "dot"},
            name="reference",
            meta={"switch": "reference"},
            hoverinfo="skip",
        )
