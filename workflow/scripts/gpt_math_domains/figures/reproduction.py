"""The published curves beside this study's own, as images.

    python -m gpt_math_domains.figures.reproduction docs/reproduction

draws a figure for each phase and data version from the tables of the parts below that directory, in
file order, and writes it there.
"""

import sys
import tempfile
from itertools import product
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go

from gpt_math_domains.figures.curves import learning_curves
from gpt_math_domains.figures.drawing import write_figure
from gpt_math_domains.figures.images import export_image
from gpt_math_domains.results.metrics import read_metrics
from gpt_math_domains.results.reproduction import published_points
from gpt_math_domains.run import ACCURACY

_PHASES = {"pretrain": "Pretraining", "finetune": "Finetuning"}
_PARTS = "data_{data}_model_[0-9]/{phase}.csv"


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


def main(directory: Path) -> None:
    """Write the images."""
    with tempfile.TemporaryDirectory() as name:
        for phase, data in product(ACCURACY, (1, 3)):
            if any(directory.glob(_PARTS.format(data=data, phase=phase))):
                page = Path(name) / f"{phase}.html"
                write_figure(reproduction_figure(directory, phase, data), page)
                export_image(page, directory / f"{phase}_{data}.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
