"""The published curves of data version 1 beside this study's own, as images.

    python -m gpt_math_domains.figures.reproduction docs/reproduction

draws a figure for each phase from the tables of the parts below that directory, in file order, and
writes it there.
"""

import sys
import tempfile
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go

from gpt_math_domains.figures.curves import learning_curves
from gpt_math_domains.figures.drawing import write_figure
from gpt_math_domains.figures.images import export_image
from gpt_math_domains.results.metrics import read_metrics
from gpt_math_domains.results.reference import read_reference
from gpt_math_domains.results.reproduction import PUBLISHED
from gpt_math_domains.run import ACCURACY

_TITLES = {
    "pretrain": "Pretraining on data version 1; dotted: published",
    "finetune": "Finetuning on data version 1; dotted: published",
}


def reproduction_figure(directory: Path, phase: str) -> go.Figure:
    """Draw the accuracy of all models on data version 1, with the published points behind it.

    Args:
        directory: with the published points, and the tables of each part below it.
        phase: `pretrain` or `finetune`.

    Raises:
        ValueError: a table is malformed.
        OSError: a table cannot be read.
    """
    parts = sorted(directory.glob(f"data_1_model_[0-9]/{phase}.csv"))
    metrics = pd.concat([read_metrics(part) for part in parts], ignore_index=True)
    published = read_reference(directory / PUBLISHED[phase], ACCURACY[phase])
    figure = learning_curves(metrics, ACCURACY[phase], None, _TITLES[phase], published)
    figure.update_traces(visible=True)  # protocols that a reader would have to switch on
    if phase == "finetune":  # all is over soon
        figure.update_xaxes(type="log", dtick=1)
    return figure


def main(directory: Path) -> None:
    """Write the images."""
    with tempfile.TemporaryDirectory() as name:
        for phase in ACCURACY:
            if any(directory.glob(f"data_1_model_[0-9]/{phase}.csv")):
                page = Path(name) / f"{phase}.html"
                write_figure(reproduction_figure(directory, phase), page)
                export_image(page, directory / f"{phase}_1.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
