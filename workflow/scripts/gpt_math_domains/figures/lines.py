"""Lines over the optimizer steps: the mean over seeds, and a band from the lowest to the highest.

Learning curves are made of them, and the figures of generalization, norms, labels and families.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from gpt_math_domains.figures.looks import (
    ACCURACY_RANGE,
    AXES,
    DASHES,
    MARKERS,
    NEUTRAL,
    add_step_buttons,
    drawn_first,
    finetune_title,
    pretrain_title,
    protocols,
    require_only,
    run_looks,
    set_layout,
    text_of,
)
from gpt_math_domains.results.metrics import read_runs, seed_values

Trace = dict[str, Any]
"""A trace of Plotly's, of type `scatter`. It checks them when a figure takes them, not twice."""


def read_versions(
    inputs: Sequence[str | Path], data: int, domain: int | None
) -> tuple[pd.DataFrame, str]:
    """Read the metrics of a data version's runs, and return them with the title of their figures.

    Args:
        inputs: the runs' metrics, of any models and protocols.
        data: the data version.
        domain: the domain version in finetuning, None in pretraining.

    Raises:
        ValueError: a table is malformed or of other runs.
    """
    metrics = read_runs(inputs, "pretrain" if domain is None else "finetune")
    require_only(metrics, "data", data)
    if domain is None:
        return metrics, pretrain_title(data)
    require_only(metrics, "domain", domain)
    return metrics, finetune_title(domain, data)


def stacked_lines(
    metrics: pd.DataFrame,
    names: Sequence[str],
    colors: Sequence[str] | None,
    title: str,
    *,
    height: int,
    row_heights: Sequence[float] | None = None,
    baseline: float | None = None,
) -> go.Figure:
    """Draw several metrics below each other, as `model_lines` has them; one legend rules all.

    Args:
        metrics: see `model_lines`.
        names: the metrics, from the top.
        colors: see `model_lines`.
        title: the figure's title.
        height: of the figure, in pixels.
        row_heights: shares of it; equal if None.
        baseline: of the first metric; see `model_lines`.
    """
    figure = make_subplots(
        rows=len(names), shared_xaxes=True, row_heights=row_heights, vertical_spacing=40 / height
    )
    for row, metric in enumerate(names, start=1):
        figure.add_traces(
            list(
                model_lines(
                    metrics,
                    metric,
                    colors,
                    baseline if row == 1 else None,
                    in_legend=row == 1,
                )
            ),
            rows=row,
            cols=1,
        )
    set_step_layout(figure, names, title, has_protocols(metrics), height=height)
    figure.update_xaxes(showticklabels=True)  # most windows do not show all at once
    return figure


def model_lines(
    metrics: pd.DataFrame,
    metric: str,
    colors: Sequence[str] | None,
    baseline: float | None = None,
    in_legend: bool = True,
) -> Iterator[Trace]:
    """Yield the lines of a metric for each protocol and model version, and the legend's entries.

    Of several protocols, `full` (or else the first) is drawn with the one that starts at random
    and trains the same; the others wait in the legend. There, one entry switches a protocol, and
    one a model: `drawing.js` draws what no entry has switched off.

    Args:
        metrics: runs of one data (and domain) version, as `metrics.read_metrics` returns them.
        metric: a measure of `AXES`.
        colors: see `looks.run_looks`.
        baseline: a value to beat, drawn as a thin dotted line; None or NaN for none.
        in_legend: whether the legend has its entries here.
    """
    looks, names = run_looks(metrics, colors), protocols(metrics)
    shown, dashes = drawn_first(names), protocol_dashes(names, colors)
    told_apart = has_protocols(metrics)
    runs = dict(list(metrics.fillna({"protocol": ""}).groupby(["protocol", "model"])))
    for (protocol, model), look in looks.items():
        if (run := runs.get((protocol, model))) is None:
            continue
        told = told_run(protocol, model)
        yield from seed_lines(
            seed_values(run, metric),
            look,
            told,
            metric,
            dash=dashes[protocol],
            in_legend=False,
            name=told if told_apart else str(model),
            meta=run_keys(protocol, model),
            visible=protocol in shown,
        )
    if in_legend:
        yield from run_switches(metrics, colors)
    if baseline is not None and not np.isnan(baseline):
        yield baseline_line(ends(metrics["step"]), baseline, AXES[metric], in_legend=in_legend)


def ends(values: "pd.Series[Any]") -> tuple[float, float]:
    """Return the least and the greatest of some numbers."""
    return values.min().item(), values.max().item()


def baseline_line(
    ends: tuple[float | str, float | str],
    baseline: float,
    axis: str,
    *,
    color: str = NEUTRAL,
    in_legend: bool = True,
    **style: object,
) -> Trace:
    """Return a baseline as a thin dotted line with its name; see `results.baselines`.

    Args:
        ends: where the line begins and where it ends.
        baseline: the accuracy.
        axis: what the accuracy is called.
        color: of the line.
        in_legend: whether the legend names it.
        style: what else the line is given.
    """
    return dict(
        **{
            "name": f"baseline {baseline:.3f}",
            "meta": {"switch": "baseline"} if in_legend else {"keys": ["baseline"]},
        }
        | style,
        x=list(ends),
        y=[baseline, baseline],
        mode="lines",
        line={"color": color, "width": 1.5, "dash": "dot"},
        showlegend=in_legend,
        hovertemplate=f"baseline: an answer without a look at the operands<br>{axis} %{{y:.4f}}"
        "<extra></extra>",
    )


def has_protocols(metrics: pd.DataFrame) -> bool:
    """Tell whether runs need the names of their protocols: all but pretraining and `full` alone."""
    return protocols(metrics) not in ([""], ["full"])


def told_run(protocol: str, model: int) -> str:
    """Return in words what a line is of."""
    return f"model {model}" + (f", {text_of(protocol)}" if protocol else "")


def run_keys(protocol: str, model: int) -> dict[str, list[str]]:
    """Return the `meta` of a trace that the entries of `run_switches` switch."""
    return {"keys": [f"protocol {protocol}", f"model {model}"]}


def protocol_dashes(names: Sequence[str], colors: Sequence[str] | None) -> dict[str, str]:
    """Return the dash of each protocol: where colours tell the models, dashes tell these."""
    every = cycle(["solid"] if colors is None else DASHES)
    return dict(zip(names, every, strict=False))


def run_switches(metrics: pd.DataFrame, colors: Sequence[str] | None) -> Iterator[Trace]:
    """Yield the entries of the legend that switch protocols, if there are several, and models."""
    looks, names = run_looks(metrics, colors), protocols(metrics)
    shown, dashes = drawn_first(names), protocol_dashes(names, colors)
    by_protocol = colors is None and len(names) > 1
    kinds: dict[str, dict[str, dict[str, Any]]] = {"protocol": {}, "model": {}}
    for protocol in names if has_protocols(metrics) else []:
        [color, *_] = [look["color"] for (name, _), look in looks.items() if name == protocol]
        line = {"color": color if by_protocol else NEUTRAL, "width": 3, "dash": dashes[protocol]}
        kinds["protocol"][protocol] = {"mode": "lines", "line": line}
    for model in sorted(metrics["model"].unique().tolist()):
        look = looks[names[0], model] | ({"color": NEUTRAL} if by_protocol else {})
        kinds["model"][str(model)] = {
            "mode": "markers" if by_protocol else "lines+markers",
            "line": {"color": look["color"], "width": 3},
            "marker": {**look, "size": 9},
        }
    off = set(names).difference(shown)
    yield from switches(kinds, off=off, headings=has_protocols(metrics))


def switches(
    kinds: Mapping[str, Mapping[str, Mapping[str, Any]]], off: Collection[str], headings: bool
) -> Iterator[Trace]:
    """Yield entries of the legend that switch all traces with a key, such as `model 2`.

    Args:
        kinds: of each kind, what it has to switch, with the looks of the entry.
        off: what of the first kind is not drawn until it is switched on.
        headings: whether the kinds stand above their entries.
    """
    for place, (kind, entries) in enumerate(kinds.items()):
        heading = kind if headings else None
        for name, style in entries.items():
            yield dict(
                x=[None],
                y=[None],
                name=text_of(name),
                meta={"switch": f"{kind} {name}"},
                legendgroup=kind,
                legendgrouptitle={"text": heading},
                visible="legendonly" if place == 0 and name in off else True,
                hoverinfo="skip",
                **style,
            )
            heading = None


def seed_lines(
    values: pd.DataFrame,
    look: Mapping[str, str],
    told: str,
    metric: str,
    *,
    width: float = 3,
    dash: str = "solid",
    in_legend: bool = True,
    **common: object,
) -> Iterator[Trace]:
    """Yield the mean over seeds as a line and, before it, the band of several seeds.

    Args:
        values: of a metric, as `seed_values` returns them.
        look: the line's `color`, and the `symbol` of its markers.
        told: what the line is of, in words, for its hover text.
        metric: a measure of `AXES`.
        width: of the line, in pixels.
        dash: of the line.
        in_legend: whether the legend names the line.
        common: what else line and band are given, such as their `legendgroup`: a click in the
            legend takes the whole group, so the band goes with its line.
    """
    if values.shape[1] > 1:
        yield _band(values, fillcolor=look["color"], **common)
    yield seed_line(
        values, look, told, metric, width=width, dash=dash, showlegend=in_legend, **common
    )


def seed_line(
    values: pd.DataFrame,
    look: Mapping[str, str],
    told: str,
    metric: str,
    *,
    width: float = 3,
    dash: str = "solid",
    **style: object,
) -> Trace:
    """Return the mean over seeds as a line without a band; see `seed_lines`."""
    several = values.shape[1] > 1
    return dict(
        x=values.index.to_numpy(),
        y=values.mean(axis=1, skipna=False).to_numpy(),
        mode="lines+markers",
        line={"color": look["color"], "width": width, "dash": dash},
        marker={**look, "size": width + 5, "maxdisplayed": MARKERS},
        customdata=_range(values.to_numpy()) if several else None,
        hovertemplate=_hover(told, metric, values.shape[1]),
        **style,
    )


def set_step_layout(
    figure: go.Figure,
    metrics: Sequence[str],
    title: str,
    headings: bool = False,
    height: int | None = None,
) -> None:
    """Give a figure its title, axes and looks; plot `i` from the top shows `metrics[i]`.

    With `headings`, the legend has them in place of a title.
    """
    set_layout(figure, title, legend="" if headings else "model", height=height)
    figure.update_xaxes(title_text="step", row=len(metrics) if len(metrics) > 1 else None)
    for metric, axis in zip(metrics, figure.select_yaxes(), strict=True):
        axis.update(title_text=AXES[metric])
        if _is_accuracy(metric):
            axis.update(range=ACCURACY_RANGE)
    add_step_buttons(figure)


def _band(values: pd.DataFrame, **style: object) -> Trace:
    """Return the translucent area from the lowest to the highest seed of (step, seed) values."""
    # A step at which a seed has no value (a loss that diverged) has no band.
    known = np.isfinite(values.to_numpy()).all(axis=1)
    steps, (low, high) = values.index.to_numpy()[known], _range(values.to_numpy()[known]).T
    return dict(
        x=np.concatenate([steps, steps[::-1]]),
        y=np.concatenate([high, low[::-1]]),
        mode="lines",
        line={"width": 0},
        fill="toself",
        opacity=0.2,
        hoverinfo="skip",
        showlegend=False,
        **style,
    )


def _range(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the lowest and highest seed of (step, seed) values, of shape (steps, 2)."""
    return np.column_stack([np.fmin.reduce(values, axis=1), np.fmax.reduce(values, axis=1)])


def _hover(told: str, metric: str, seeds: int) -> str:
    """Return the hover text of a line: what, where, how much, over how many seeds."""
    digits = ".4f" if _is_accuracy(metric) else ".4g"
    spread = f"%{{customdata[0]:{digits}}} to %{{customdata[1]:{digits}}}"
    lines = [
        told,
        "step %{x:,}",
        f"{AXES[metric]} %{{y:{digits}}}",
        f"mean of {seeds} seeds ({spread})" if seeds > 1 else "1 seed",
    ]
    return "<br>".join(lines) + "<extra></extra>"


def _is_accuracy(metric: str) -> bool:
    return metric.endswith("acc") or metric == "accuracy"
