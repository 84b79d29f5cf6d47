"""How well each family of equations is answered, over the optimizer steps of pretraining."""

from collections.abc import Sequence
from itertools import cycle, product
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from gpt_math_domains.data.vocabulary import OPERATIONS
from gpt_math_domains.figures.drawing import write_figure
from gpt_math_domains.figures.lines import baseline_line, ends, seed_lines
from gpt_math_domains.figures.looks import (
    ACCURACY_RANGE,
    COLORS,
    SYMBOLS,
    add_step_buttons,
    panel_height,
    pretrain_title,
    require_only,
    set_layout,
)
from gpt_math_domains.results.baselines import of_families, read_baselines
from gpt_math_domains.results.metrics import read_parts, seed_values

_COLUMN = 230  # pixels that the plots of an operation need
# At the left, which is in sight where the figure is scrolled.
_LEGEND = {
    **{"legend_orientation": "h", "legend_x": 0, "legend_y": 0, "legend_yref": "container"},
    **{"legend_yanchor": "bottom", "margin_b": 100},
}


def family_curves(
    table: pd.DataFrame, title: str, baselines: pd.DataFrame | None = None
) -> go.Figure:
    """Draw the accuracy of each family: a row for each model version, a column for each operation.

    A plot has a line for each modulus: the mean over seeds, with a band from the lowest to the
    highest; a thin dotted line of the same colour is its baseline. Families without a validation
    equation have no line.

    Args:
        table: runs of one data version, as `metrics.read_parts` returns them.
        title: the figure's title.
        baselines: of the data version, as `baselines.read_baselines` returns them.
    """
    known = {} if baselines is None else of_families(baselines).stack().dropna().to_dict()
    models = sorted(table["model"].unique().tolist())
    operations = [name for name in OPERATIONS if name in set(table["operation"])]
    moduli = table["modulo"].astype("string").fillna("none")
    order = sorted(set(moduli), key=lambda name: 0 if name == "none" else int(name))
    looks = dict(zip(order, zip(cycle(COLORS), cycle(SYMBOLS), strict=False), strict=False))
    figure = make_subplots(
        rows=len(models),
        cols=len(operations),
        shared_xaxes="all",
        shared_yaxes=True,
        horizontal_spacing=0.02,
        vertical_spacing=0.15 / len(models),
        column_titles=operations,
    )
    named: set[str] = set()
    families = dict(list(table.groupby(["model", "operation", moduli])))
    for (row, model), (column, operation) in product(
        enumerate(models, start=1), enumerate(operations, start=1)
    ):
        for modulus, (color, symbol) in looks.items():
            if (family := families.get((model, operation, modulus))) is None:
                continue
            lines = seed_lines(
                seed_values(family, "accuracy"),
                {"color": color, "symbol": symbol},
                f"{operation}, modulus {modulus}, model {model}<br>"
                f"{family['equations'].iloc[0]} validation equations",
                "accuracy",
                width=2,
                in_legend=modulus not in named,
                name=modulus,
                legendgroup=modulus,
            )
            figure.add_traces(list(lines), rows=row, cols=column)
            if (operation, modulus) in known:
                line = baseline_line(
                    ends(family["step"]),
                    known[operation, modulus],
                    f"{operation}, modulus {modulus}",
                    color=color,
                    in_legend=False,
                    legendgroup=modulus,
                    meta=None,
                )
                figure.add_trace(line, row=row, col=column)
            named.add(modulus)
    set_layout(figure, title, legend="modulus", height=panel_height(len(models)))
    figure.update_layout(_LEGEND, meta={"min_width": _COLUMN * len(operations)})
    figure.update_xaxes(title_text="step", row=len(models))
    figure.update_yaxes(range=ACCURACY_RANGE)
    for row, model in enumerate(models, start=1):  # at the left too
        figure.update_yaxes(title_text=f"model {model}: accuracy", row=row, col=1)
    add_step_buttons(figure)
    return figure


def plot_families(
    inputs: Sequence[str | Path], data: int, output: str | Path, *, baselines: str | Path
) -> None:
    """Write the page about the families of a data version's equations.

    Args:
        inputs: the models' accuracies of each family.
        data: the data version.
        output: the page.
        baselines: of the data version.

    Raises:
        ValueError: a table is malformed or of other runs.
    """
    table = read_parts(inputs, "pretrain")
    require_only(table, "data", data)
    title = f"{pretrain_title(data)}, families"
    write_figure(family_curves(table, title, read_baselines([baselines])), output)
