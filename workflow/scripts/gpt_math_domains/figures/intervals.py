"""Means over seeds with their 95% intervals, as lines with error bars and as bars."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from gpt_math_domains.results.statistics import mean_interval


def error_bars(values: pd.DataFrame) -> dict[str, Any] | None:
    """Return plotly's error bars for the means over the columns of a table; None of one column.

    Args:
        values: a row for each mean, a column for each seed.
    """
    if values.shape[1] < 2:
        return None
    intervals = [mean_interval(row) for _, row in values.iterrows()]
    half = np.array([interval.high - interval.mean for interval in intervals])
    return {"type": "data", "array": half, "thickness": 1.2, "width": 3}


def interval_line(
    values: pd.DataFrame, look: Mapping[str, str], told: str, *, dash: str = "solid", **style: Any
) -> go.Scatter:
    """Return a line of means over seeds with their 95% intervals (Student t).

    Args:
        values: a row for each place on the horizontal axis, a column for each seed.
        look: the line's `color`, and the `symbol` of its markers.
        told: what the line is of, for its hover text, with what `%{x}` and `%{y}` are.
        dash: of the line.
        style: what else it is given.
    """
    seeds = values.shape[1]
    spread = f"mean of {seeds} seeds, 95% interval" if seeds > 1 else "1 seed"
    return go.Scatter(
        x=values.index.to_numpy(),
        y=values.mean(axis=1).to_numpy(),
        error_y=error_bars(values),
        mode="lines+markers",
        line={"color": look["color"], "width": 2, "dash": dash},
        marker={**look, "size": 7},
        hovertemplate=f"{told}<br>{spread}<extra></extra>",
        **style,
    )
