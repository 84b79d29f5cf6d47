"""Learning curves of the study as interactive pages that work offline."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go

from gpt_math_domains.figures.drawing import write_figure
from gpt_math_domains.figures.lines import (
    model_lines,
    read_versions,
    set_step_layout,
    stacked_lines,
)
from gpt_math_domains.figures.looks import AXES, model_looks
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
    figure = go.Figure(list(model_lines(metrics, metric, colors)))
    if reference is not None:
        figure.add_traces(list(_reference_curves(reference, metric, metrics, colors)))
    set_step_layout(figure, [metric], title)
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
    figure = stacked_lines(
        metrics,
        [accuracy, "eval_loss", "train_loss"],
        colors,
        title,
        height=960,
        row_heights=[0.5, 0.25, 0.25],
    )
    if reference is not None:
        curves = list(_reference_curves(reference, accuracy, metrics, colors))
        figure.add_traces(curves, rows=1, cols=1)
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
    metrics, title = read_versions(inputs, data, domain)
    metric = ACCURACY["pretrain" if domain is None else "finetune"]
    known = None if reference is None else read_reference(reference, metric)
    write_figure(overview_curves(metrics, metric, colors, title, known), overview)
    write_figure(learning_curves(metrics, metric, colors, title, known), accuracy)
    write_figure(learning_curves(metrics, "eval_loss", colors, title), loss)


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
