"""Learning curves of one run in two studies over each other."""

import pandas as pd
import plotly.graph_objects as go

from gpt_math_domains.figures.lines import baseline_line, ends, seed_lines, set_step_layout
from gpt_math_domains.figures.looks import AXES, COLORS, SYMBOLS
from gpt_math_domains.results.metrics import seed_values
from gpt_math_domains.run import ACCURACY


def comparison_curves(
    first: pd.DataFrame, second: pd.DataFrame, title: str, baseline: float | None = None
) -> go.Figure:
    """Draw the accuracy of a run over the optimizer steps, as two studies have it.

    A line is the mean over all seeds of a study; the band spans the lowest and the highest.

    Args:
        first: the run's metrics in the first study, as `metrics.read_metrics` returns them.
        second: the same in the second.
        title: the figure's title.
        baseline: the accuracy to beat in both; None where it is not known, or not the same.
    """
    metric = ACCURACY[first["phase"].iloc[0]]
    figure = go.Figure()
    looks = zip(COLORS, SYMBOLS, ("solid", "dash"), strict=False)
    for (name, run), (color, symbol, dash) in zip(
        (("first", first), ("second", second)), looks, strict=False
    ):
        look = {"color": color, "symbol": symbol}
        lines = seed_lines(
            seed_values(run, metric), look, name, metric, dash=dash, name=name, legendgroup=name
        )
        figure.add_traces(list(lines))
    if baseline is not None:
        steps = pd.concat([first["step"], second["step"]])
        figure.add_trace(baseline_line(ends(steps), baseline, AXES[metric]))
    set_step_layout(figure, [metric], title)
    figure.update_layout(legend_title_text="study")
    return figure
