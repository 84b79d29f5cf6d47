"""What each layer of a model answers, were it the last: the logit lens."""

from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from gpt_math_domains.data.vocabulary import OPERATIONS
from gpt_math_domains.figures.drawing import write_figure
from gpt_math_domains.figures.intervals import interval_line
from gpt_math_domains.figures.lines import baseline_line, ends
from gpt_math_domains.figures.looks import (
    ACCURACY_RANGE,
    COLORS,
    SYMBOLS,
    choice_menu,
    panel_height,
    pretrain_title,
    require_only,
    set_layout,
)
from gpt_math_domains.results.answers import SPLITS
from gpt_math_domains.results.baselines import of_families, read_baselines
from gpt_math_domains.results.inside import LENS

ALL = "all moduli"
_MEASURES = {"accuracy": "right answers", "probability": "probability of the answer"}
# At the left, which is in sight where the figure is scrolled.
_LEGEND = {
    **{"legend_orientation": "h", "legend_x": 0, "legend_y": 0, "legend_yref": "container"},
    **{"legend_yanchor": "bottom", "margin_b": 190},
}
_DASHES = dict(zip(SPLITS, ("dash", "solid"), strict=True))
_WORDS = dict(zip(SPLITS, ("training", "validation"), strict=True))


def lens_curves(
    table: pd.DataFrame, title: str, baselines: pd.DataFrame | None = None
) -> go.Figure:
    """Draw what each layer answers: the share that is right, and the right answer's probability.

    Each model version has a row, each operation a colour; validation is solid, training dashed.
    Layer 0 is the embedded symbols. Lines are means over seeds with 95% intervals (Student t); thin
    dotted ones are baselines of validation. A menu chooses a modulus.

    Args:
        table: of one data version, as `LENS.read` returns it.
        title: the figure's title.
        baselines: of the data version, as `baselines.read_baselines` returns them.
    """
    known = {} if baselines is None else of_families(baselines).stack().dropna().to_dict()
    models = sorted(table["model"].unique().tolist())
    moduli = table["modulo"].astype("string").fillna("none")
    values = sorted(set(moduli), key=lambda name: 0 if name == "none" else int(name))
    choices = [ALL, *values] if len(values) > 1 else [ALL]
    operations = [name for name in OPERATIONS if name in set(table["operation"])]
    figure = make_subplots(
        rows=len(models),
        cols=len(_MEASURES),
        shared_yaxes=True,
        horizontal_spacing=0.04,
        vertical_spacing=0.2 / len(models),
        column_titles=list(_MEASURES.values()),
    )
    shown = []
    for choice, (row, model) in product(choices, enumerate(models, start=1)):
        chosen = table[(table["model"] == model) & (moduli.eq(choice) | (choice == ALL))]
        for (column, measure), operation, split in product(
            enumerate(_MEASURES, start=1), operations, SPLITS
        ):
            part = chosen[(chosen["operation"] == operation) & (chosen["split"] == split)]
            if part.empty:
                continue
            place = operations.index(operation)
            line = interval_line(
                _by_layer(part, measure),
                {
                    "color": COLORS[place],
                    "symbol": SYMBOLS[place] + ("-open" if split == "train" else ""),
                },
                f"model {model}, {operation}, {choice}, {_WORDS[split]}<br>"
                f"layer %{{x}}: {_MEASURES[measure]} %{{y:.4f}}",
                dash=_DASHES[split],
                name=f"{operation}, {_WORDS[split]}",
                legendgroup=f"{operation} {split}",
                showlegend=row == column == 1,
                visible=choice == ALL,
            )
            figure.add_trace(line, row=row, col=column)
            shown.append(choice)
            beaten = _baseline(part, known)
            if measure == "accuracy" and split == "valid" and beaten is not None:
                line = baseline_line(
                    ends(part["layer"]),
                    beaten,
                    f"{operation}, {choice}",
                    color=COLORS[place],
                    in_legend=False,
                    legendgroup=f"{operation} {split}",
                    meta=None,
                    visible=choice == ALL,
                )
                figure.add_trace(line, row=row, col=column)
                shown.append(choice)
    set_layout(figure, title, legend="operation", height=panel_height(len(models)) + 80)
    figure.update_xaxes(dtick=1, rangemode="normal", showticklabels=True)
    figure.update_xaxes(title_text="layer (0: embedding)", row=len(models))
    figure.update_yaxes(range=ACCURACY_RANGE)
    for row, model in enumerate(models, start=1):
        figure.update_yaxes(title_text=f"model {model}", row=row, col=1)
    choice_menu(figure, choices, shown)
    figure.update_layout(_LEGEND, meta={"min_width": 700})
    return figure


def plot_lens(
    inputs: Sequence[str | Path], data: int, output: str | Path, *, baselines: str | Path
) -> None:
    """Write the page about what the layers of a data version's models answer.

    Args:
        inputs: the models' tables.
        data: the data version.
        output: the page.
        baselines: of the data version.

    Raises:
        ValueError: a table is malformed or of another data version.
    """
    table = LENS.read(inputs)
    require_only(table, "data", data)
    title, known = f"{pretrain_title(data)}, logit lens", read_baselines([baselines])
    write_figure(lens_curves(table, title, known), output)


def _baseline(part: pd.DataFrame, known: Mapping[Any, float]) -> float | None:
    """Return the baseline of the equations of some families; None where one is not known."""
    moduli = part["modulo"].astype("string").fillna("none")
    sizes = part.groupby([part["operation"], moduli])["equations"].first()
    if not set(sizes.index) <= set(known):
        return None
    total = sum(known[family] * size for family, size in sizes.items())
    return float(total / sizes.sum())


def _by_layer(part: pd.DataFrame, measure: str) -> pd.DataFrame:
    """Return a measure by layer and seed, the mean over all equations of some families."""
    weighted = part.assign(total=part[measure] * part["equations"])
    sums = weighted.groupby(["layer", "seed"])[["total", "equations"]].sum()
    return (sums["total"] / sums["equations"]).unstack()
