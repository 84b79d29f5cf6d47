"""Scale: final accuracy against parameters, steps and floating-point operations."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import cycle, product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from gpt_math_domains.data.manifest import read_sizes
from gpt_math_domains.data.vocabulary import POSITIONS
from gpt_math_domains.figures.drawing import write_figure
from gpt_math_domains.figures.lines import Trace, baseline_line, ends, switches
from gpt_math_domains.figures.looks import (
    ACCURACY_RANGE,
    AXES,
    COLORS,
    DASHES,
    NEUTRAL,
    SYMBOLS,
    drawn_first,
    protocols,
    run_looks,
    set_layout,
    text_of,
)
from gpt_math_domains.results.summary import own_runs, read_summary
from gpt_math_domains.run import ACCURACY, PROTOCOLS, RUN, ModelSize

MEASURES = {
    "parameters": "parameters",
    "steps": "optimizer steps",
    "flops": "FLOPs of training",
}
POINTS = 3  # of a line, at least
NOTHING = "Three models or more are needed."
# Where a point's model is written: models may have the same cost and accuracy.
CORNERS = ("bottom right", "bottom left", "top right", "top left")


def scale(runs: pd.DataFrame, metric: str, title: str) -> go.Figure:
    """Draw the final accuracy against parameters, steps and FLOPs, one line for each data version.

    A measure has a plot if three runs or more of a line differ in it; two points tell no trend.
    A point is the mean over a run's seeds, with its 95% interval (Student t); lines join the models
    in ascending order of the measure, and thin dotted ones are baselines. As a line joins models,
    colours tell protocols, and dashes data versions; of one protocol, colours tell data versions.
    The legend switches protocols and data versions, and draws of several protocols what
    `lines.model_lines` does.

    Args:
        runs: the summary of the runs of one phase (and domain version), as `summary.read_summary`
            returns it, with the columns `parameters` and `flops`.
        metric: `math_acc` or `domain_acc`.
        title: the figure's title.
    """
    measures = [measure for measure in MEASURES if _differ(runs, measure)]
    figure = make_subplots(rows=max(1, len(measures)), vertical_spacing=0.13)
    if not measures:
        set_layout(figure, title, legend="")
        figure.update_layout(meta={"description": NOTHING})
        figure.add_annotation(text=NOTHING, showarrow=False, xref="paper", yref="paper", x=0, y=1)
        figure.update_xaxes(visible=False)
        figure.update_yaxes(visible=False)
        return figure
    symbols = dict(zip(sorted(set(runs["model"])), cycle(SYMBOLS), strict=False))
    corners = dict(zip(symbols, cycle(CORNERS), strict=False))
    names, lines = protocols(runs), _lines(runs)
    shown = drawn_first(names)
    for (protocol, data), line in lines.items():
        chosen = runs[(runs["data"] == data) & (runs["protocol"].fillna("") == protocol)]
        told = f"data {data}" + (f", {text_of(protocol)}" if protocol else "")
        for row, measure in enumerate(measures, start=1):
            points = chosen.sort_values([measure, "model"])
            mean = points["final_mean"]
            figure.add_scatter(
                x=points[measure].to_numpy(),
                y=mean.to_numpy(),
                error_y={
                    "array": points["final_high"] - mean,
                    "arrayminus": mean - points["final_low"],
                },
                mode="lines+markers+text",
                line={**line, "width": 1.5},
                marker={"size": 10, "symbol": points["model"].map(symbols).tolist()},
                text=points["model"].astype(str).tolist(),
                textposition=points["model"].map(corners).tolist(),
                name=told,
                showlegend=False,
                meta={"keys": [f"protocol {protocol}", f"data {data}"]},
                visible=protocol in shown,
                hovertemplate=f"model %{{text}}, {told}"
                f"<br>{MEASURES[measure]} %{{x:,.4~s}}<br>{AXES[metric]} %{{y:.4f}}"
                "<extra></extra>",
                row=row,
                col=1,
            )
        for row, measure in enumerate(measures, start=1):
            beaten = float(chosen["baseline"].iloc[0]) if len(chosen) else np.nan
            if protocol != names[0] or np.isnan(beaten):
                continue
            figure.add_trace(
                baseline_line(
                    ends(chosen[measure]),
                    beaten,
                    f"data {data}",
                    color=NEUTRAL if len(names) > 1 else line["color"],
                    in_legend=False,
                    name=f"baseline {beaten:.3f}",
                    meta={"keys": ["baseline", f"data {data}"]},
                ),
                row=row,
                col=1,
            )
    figure.add_traces(list(_switches(lines)), rows=1, cols=1)
    set_layout(figure, title, legend="", height=max(480, 320 * len(measures)))
    for row, measure in enumerate(measures, start=1):
        words = MEASURES[measure]
        figure.update_xaxes(title_text=words, range=_log_range(runs[measure]), row=row)
    figure.update_xaxes(type="log", exponentformat="SI")
    figure.update_yaxes(title_text=AXES[metric], range=ACCURACY_RANGE)
    return figure


def _lines(runs: pd.DataFrame) -> dict[tuple[str, int], dict[str, str]]:
    """Return `color` and `dash` of the line of each protocol and data version."""
    names, looks = protocols(runs), run_looks(runs, None)
    versions = dict(enumerate(sorted(runs["data"].unique().tolist())))
    colors = {protocol: look["color"] for (protocol, _), look in looks.items()}
    return {
        (protocol, data): {"color": colors[protocol], "dash": DASHES[place % len(DASHES)]}
        if len(names) > 1
        else {"color": COLORS[place % len(COLORS)], "dash": "solid"}
        for protocol, (place, data) in product(names, versions.items())
    }


def _switches(lines: Mapping[tuple[str, int], Mapping[str, str]]) -> Iterator[Trace]:
    """Yield the entries of the legend: protocols, if there are several, data, and baselines."""
    names = list(dict.fromkeys(protocol for protocol, _ in lines))
    several = len(names) > 1
    kinds: dict[str, dict[str, Any]] = {"protocol": {}, "data": {}}
    for (protocol, data), look in lines.items():
        if several:
            solid = {"color": look["color"], "width": 3}
            kinds["protocol"][protocol] = {"mode": "lines", "line": solid}
        own = {"color": NEUTRAL if several else look["color"], "dash": look["dash"], "width": 3}
        kinds["data"][str(data)] = {"mode": "lines", "line": own}
    yield from switches(kinds, off=set(names).difference(drawn_first(names)), headings=True)
    yield baseline_line((np.nan, np.nan), np.nan, "", name="baseline")


def _differ(runs: pd.DataFrame, measure: str) -> bool:
    """Tell whether a line has enough points of a measure."""
    counts = runs.groupby(["data", "protocol"], dropna=False)[measure].nunique()
    return bool(counts.ge(POINTS).any())


def plot_scale(
    summary_csv: str | Path,
    manifests: Iterable[str | Path],
    phase: str,
    study: Mapping[str, Any],
    output: str | Path,
    domain: int | None = None,
) -> None:
    """Write the page about the accuracy that a phase's runs get for their cost.

    Args:
        summary_csv: the summary of all runs.
        manifests: of the data versions, in the order of `study`'s.
        phase: `pretrain` or `finetune`.
        study: `data`, the data versions; `models`, a mapping from version to settings; `labels`,
            a mapping from domain version to their number; `epochs`, a list of mappings with a
            run's keys and `num_train_epochs`.
        output: the page.
        domain: the domain version, in finetuning.

    Raises:
        ValueError: a file is malformed.
    """
    summary = own_runs(read_summary(summary_csv))
    runs = summary[summary["phase"] == phase]
    if domain is not None:
        runs = runs[runs["domain"] == domain]
    sizes = {data: read_sizes(path) for data, path in zip(study["data"], manifests, strict=True)}
    costs = [_costs(run, sizes, study) for run in runs.to_dict("records")]
    measured = pd.DataFrame(costs, columns=["parameters", "flops"], index=runs.index)
    title = "Pretrain, scale" if domain is None else f"Finetune Domain: {domain}, scale"
    write_figure(scale(runs.join(measured), ACCURACY[phase], title), output)


def _log_range(values: "pd.Series[float]") -> list[float] | None:
    """Return the range of a logarithmic axis, wide enough for readable ticks, of some values."""
    if values.empty:
        return None
    low, high = np.log10([values.min(), values.max()])
    room = max(0.15, 0.05 * (high - low))
    return [float(low - room), float(high + room)]


def _costs(
    run: Mapping[Any, Any], sizes: Mapping[int, Mapping[str, int]], study: Mapping[str, Any]
) -> tuple[int, int]:
    """Return the parameters of a run's model and the FLOPs of its training."""
    vocabulary, examples = (sizes[run["data"]][name] for name in ("vocabulary", "train"))
    model = study["models"][run["model"]]
    size = ModelSize(**model, vocabulary_size=vocabulary, num_positions=POSITIONS)
    pretraining = run["phase"] == "pretrain"
    labels = None if pretraining else study["labels"][run["domain"]]
    [epochs] = [
        told["num_train_epochs"]
        for told in study["epochs"]
        if all(told[key] == (None if pd.isna(run[key]) else run[key]) for key in RUN)
    ]
    flops = training_flops(
        size,
        vocabulary if labels is None else labels,
        pretraining=pretraining,
        head_only=not pretraining and PROTOCOLS[run["protocol"]].head_only,
    )
    return size.parameters(labels), epochs * examples * flops


def training_flops(
    size: ModelSize, outputs: int, *, pretraining: bool, head_only: bool = False
) -> int:
    """Return the FLOPs of training on one equation once.

    Matrix products are counted, a multiplication and an addition as two, and the backward pass as
    twice the forward pass (Kaplan et al. 2020, "Scaling Laws for Neural Language Models", section
    2.1; the attention's products as in Hoffmann et al. 2022, "Training Compute-Optimal Large
    Language Models", appendix F). With D `d_model`, L `num_layers` and T = `num_positions` - 1
    tokens, a forward pass takes

        T L (24 D^2 + 4 T D) + 2 n D outputs

    in which n is T where each token predicts the next, and 1 where the last tells the labels. Our
    finetuning takes fewer: its last block computes little for the other tokens.

    Args:
        size: of the model.
        outputs: size of the vocabulary, or number of labels.
        pretraining: whether each token predicts the next.
        head_only: whether the classification head alone is trained.
    """
    width, tokens = size.d_model, size.num_positions - 1
    blocks = tokens * size.num_layers * (24 * width**2 + 4 * tokens * width)
    head = 2 * (tokens if pretraining else 1) * width * outputs
    return (1 if head_only else 3) * blocks + 3 * head
