"""The published curves beside this study's own, as images.

    python -m gpt_math_domains.figures.reproduction docs/reproduction

draws a figure for each phase and data version from the tables of the parts below that directory, in
file order, one of both orders, and one of what `trials.py` tried, and writes them there.
"""

import sys
import tempfile
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from gpt_math_domains.figures.curves import learning_curves
from gpt_math_domains.figures.drawing import write_figure
from gpt_math_domains.figures.images import export_image
from gpt_math_domains.figures.lines import seed_lines
from gpt_math_domains.figures.looks import ACCURACY_RANGE, AXES, COLORS, SYMBOLS, set_layout
from gpt_math_domains.results.metrics import read_metrics
from gpt_math_domains.results.reference import read_reference
from gpt_math_domains.results.reproduction import PUBLISHED, order_curves, published_points
from gpt_math_domains.run import ACCURACY

_PHASES = {"pretrain": "Pretraining", "finetune": "Finetuning"}
_PARTS = "data_{data}_model_[0-9]/{phase}.csv"
_ORDERS = {
    "file": "in file order",
    "each_epoch": "in a new order each epoch",
    "shuffled_once": "shuffled once",
    "by_operation": "by operation, then modulus",
}


def reproduction_figure(directory: Path, phase: str, data: int) -> go.Figure:
    """Draw the accuracy of all models on a data version, with the published points behind it.

    Args:
        directory: with the published points, and the tables of each part below it.
        phase: `pretrain` or `finetune`.
        data: the data version.

    Raises:
        ValueError: a table is malformed.
        OSError: a table cannot be read.
    """
    parts = sorted(directory.glob(_PARTS.format(data=data, phase=phase)))
    metrics = pd.concat([read_metrics(part) for part in parts], ignore_index=True)
    published = published_points(directory, metrics)
    title = f"{_PHASES[phase]} on data version {data}"
    if published is not None:
        title += "; dotted: published"
    figure = learning_curves(metrics, ACCURACY[phase], None, title, published)
    figure.update_traces(visible=True)  # protocols that a reader would have to switch on
    if phase == "finetune":  # all is over soon
        figure.update_xaxes(type="log", dtick=1)
    return figure


def orders_figure(directory: Path) -> go.Figure:
    """Draw the accuracy of model 2 in some orders of the equations, for data versions 1 and 3.

    Args:
        directory: see `reproduction_figure`; with the tables of `orders.py` in `orders`.

    Raises:
        ValueError: a table is malformed.
        OSError: a table cannot be read.
    """
    panels = {}
    for data in (1, 3):
        found = order_curves(directory, data)
        last = found["each_epoch"].index[-1]
        panels[f"data version {data}"] = {
            told: found[name].loc[:last] for name, told in _ORDERS.items()
        }
    title = "Model 2, by the order of the training equations"
    return _side_by_side(panels, ACCURACY["pretrain"], title)


def trials_figure(directory: Path) -> go.Figure:
    """Draw the nearest way of finetuning that was tried, models 2 and 4, and published points.

    Args:
        directory: see `reproduction_figure`; with the tables of `trials.py` in `trials`.

    Raises:
        ValueError: a table is malformed.
        OSError: a table cannot be read.
    """
    metric = ACCURACY["finetune"]
    published = read_reference(directory / PUBLISHED["finetune"], metric)
    panels = {}
    for model in (2, 4):
        table = pd.read_csv(directory / f"trials/aligned_model_{model}.csv")
        ours = table.pivot(index="step", columns="seed", values=metric)
        points = published[published["model"] == model].set_index("step")[[metric]]
        panels[f"model {model}"] = {"ours": ours, "published": points.loc[: ours.index[-1]]}
    title = "Labels told in words, trained by plain SGD"
    return _side_by_side(panels, metric, title, dashes=("solid", "dot"))


def _side_by_side(
    panels: Mapping[str, Mapping[str, pd.DataFrame]],
    metric: str,
    title: str,
    dashes: Sequence[str] = ("solid",) * 4,
) -> go.Figure:
    """Draw a few curves in each panel, the same kinds in all.

    Args:
        panels: by title, each curve's values by name, as `seed_values` returns them.
        metric: of the values.
        title: of the figure.
        dashes: of the curves.
    """
    figure = make_subplots(cols=len(panels), shared_yaxes=True, subplot_titles=list(panels))
    for column, found in enumerate(panels.values(), start=1):
        for (told, values), *look, dash in zip(
            found.items(), COLORS, SYMBOLS, dashes, strict=False
        ):
            lines = seed_lines(
                values,
                dict(zip(("color", "symbol"), look, strict=True)),
                told,
                metric,
                dash=dash,
                in_legend=column == 1,
                legendgroup=told,
                name=told,
            )
            figure.add_traces(list(lines), rows=1, cols=column)
    set_layout(figure, title, legend="")
    figure.update_xaxes(title_text="step")
    figure.update_yaxes(range=ACCURACY_RANGE)
    figure.update_yaxes(title_text=AXES[metric], col=1)
    return figure


def main(directory: Path) -> None:
    """Write the images."""
    with tempfile.TemporaryDirectory() as name:
        drawn = {"orders": orders_figure(directory), "trials": trials_figure(directory)}
        for phase, data in product(ACCURACY, (1, 3)):
            if any(directory.glob(_PARTS.format(data=data, phase=phase))):
                drawn[f"{phase}_{data}"] = reproduction_figure(directory, phase, data)
        for stem, figure in drawn.items():
            page = Path(name) / f"{stem}.html"
            write_figure(figure, page)
            export_image(page, directory / f"{stem}.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
