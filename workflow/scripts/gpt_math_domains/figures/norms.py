"""Norms of the gradient and of the weights over the optimizer steps."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go

from gpt_math_domains.figures.drawing import write_figure
from gpt_math_domains.figures.lines import read_versions, stacked_lines
from gpt_math_domains.figures.looks import panel_height

NORMS = ("grad_norm", "weight_norm")


def norm_curves(metrics: pd.DataFrame, colors: Sequence[str] | None, title: str) -> go.Figure:
    """Draw the norm of the gradient, on a logarithmic axis, above that of the weights.

    Args:
        metrics: runs of one data (and domain) version, as `metrics.read_metrics` returns them.
        colors: see `looks.run_looks`.
        title: the figure's title.
    """
    figure = stacked_lines(metrics, NORMS, colors, title, height=panel_height(len(NORMS)))
    figure.update_yaxes(type="log", row=1)
    return figure


def plot_norms(
    inputs: Sequence[str | Path],
    data: int,
    colors: Sequence[str] | None,
    output: str | Path,
    domain: int | None = None,
) -> None:
    """Write the page about the norms in a data version's runs: of pretraining, or of a domain.

    Args:
        inputs: the runs' metrics, of any models and protocols.
        data: the data version.
        colors: see `norm_curves`.
        output: the page.
        domain: the domain version, in finetuning.

    Raises:
        ValueError: a table is malformed or of other runs.
    """
    metrics, title = read_versions(inputs, data, domain)
    write_figure(norm_curves(metrics, colors, f"{title}, norms"), output)
