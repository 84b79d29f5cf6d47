"""Generalization: training against validation over the optimizer steps, and what is not memorized.

If `b op a` stood in training, a model may know `a op b` from it, which is not to generalize far.
"""

from collections.abc import Sequence
from itertools import product
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from gpt_math_domains.figures.drawing import write_figure
from gpt_math_domains.figures.lines import baseline_line, ends, read_versions, seed_lines
from gpt_math_domains.figures.looks import (
    ACCURACY_RANGE,
    AXES,
    add_step_buttons,
    choice_menu,
    protocols,
    run_looks,
    set_layout,
    text_of,
)
from gpt_math_domains.results.baselines import overall, read_baselines
from gpt_math_domains.results.metrics import seed_values
from gpt_math_domains.run import ACCURACY


def generalization_curves(
    metrics: pd.DataFrame,
    accuracy: str,
    colors: Sequence[str] | None,
    title: str,
    baseline: float | None = None,
) -> go.Figure:
    """Draw training beside validation, and mirrored beside other validation equations.

    Below each other stand the accuracies of validation (solid) and training (dashed), those of
    mirrored (solid) and other validation equations (dashed), and the losses of validation (solid)
    and training (dashed). Lines are means over seeds, bands span the lowest and the highest seed.
    Of several protocols, `full` (or else the first) is drawn and a menu chooses another.

    Args:
        metrics: runs of one data (and domain) version, as `metrics.read_metrics` returns them.
        accuracy: `math_acc` or `domain_acc`.
        colors: see `looks.run_looks`.
        title: the figure's title.
        baseline: the accuracy to beat on all validation equations.
    """
    panels = {
        "accuracy: validation solid, training dashed": (accuracy, f"train_{accuracy}"),
        "validation: mirrored solid, others dashed": (
            f"mirrored_{accuracy}",
            f"unmirrored_{accuracy}",
        ),
        "loss: validation solid, training dashed": ("eval_loss", "train_eval_loss"),
    }
    figure = make_subplots(
        rows=len(panels), shared_xaxes=True, vertical_spacing=0.09, subplot_titles=list(panels)
    )
    looks, names, shown = run_looks(metrics, colors), protocols(metrics), []
    runs = dict(list(metrics.fillna({"protocol": ""}).groupby(["protocol", "model"])))
    for protocol in names:
        for row, pair in enumerate(panels.values(), start=1):
            own = {model: look for (name, model), look in looks.items() if name == protocol}
            for (model, look), metric in product(own.items(), pair):
                values = seed_values(runs.get((protocol, model), metrics[:0]), metric)
                if values.isna().all(axis=None):  # no such run, or no such equations
                    continue
                solid, in_legend = metric == pair[0], metric == accuracy
                lines = list(
                    seed_lines(
                        values,
                        look if solid else look | {"symbol": f"{look['symbol']}-open"},
                        f"model {model}" + (f", {text_of(protocol)}" if protocol else ""),
                        metric,
                        width=2.5 if solid else 2,
                        dash="solid" if solid else "dash",
                        in_legend=in_legend,
                        name=str(model) if in_legend else f"{model} {AXES[metric]}",
                        legendgroup=f"{protocol} {model}",
                        visible=protocol == names[0],
                    )
                )
                figure.add_traces(lines, rows=row, cols=1)
                shown += [protocol] * len(lines)
        if baseline is not None:
            visible = protocol == names[0]
            line = baseline_line(
                ends(metrics["step"]), baseline, AXES[accuracy], visible=visible, meta=None
            )
            figure.add_trace(line, row=1, col=1)
            shown.append(protocol)
    set_layout(figure, title, height=960)
    figure.update_xaxes(showticklabels=True)
    figure.update_xaxes(title_text="step", row=len(panels))
    figure.update_yaxes(title_text="accuracy", range=ACCURACY_RANGE)
    figure.update_yaxes(title_text="loss", range=None, row=len(panels))
    add_step_buttons(figure)
    choice_menu(figure, names, shown)
    return figure


def plot_generalization(
    inputs: Sequence[str | Path],
    data: int,
    colors: Sequence[str] | None,
    output: str | Path,
    *,
    baselines: str | Path,
    domain: int | None = None,
) -> None:
    """Write the page about what a data version's runs generalize to: pretraining, or a domain's.

    Args:
        inputs: the runs' metrics, of any models and protocols.
        data: the data version.
        colors: see `generalization_curves`.
        output: the page.
        baselines: of the data (and domain) version.
        domain: the domain version, in finetuning.

    Raises:
        ValueError: a table is malformed or of other runs.
    """
    metrics, title = read_versions(inputs, data, domain)
    accuracy = ACCURACY["pretrain" if domain is None else "finetune"]
    baseline = overall(read_baselines([baselines]), metrics.iloc[0].to_dict())
    figure = generalization_curves(metrics, accuracy, colors, f"{title}, generalization", baseline)
    write_figure(figure, output)
