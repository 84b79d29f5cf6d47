"""A grid: final accuracy and steps to some accuracies, against the keys that were varied."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from gpt_math_domains.figures.drawing import write_figure
from gpt_math_domains.figures.lines import (
    baseline_line,
    has_protocols,
    protocol_dashes,
    run_keys,
    run_switches,
    told_run,
)
from gpt_math_domains.figures.looks import (
    ABOVE,
    ABOVE_SCALE,
    ACCURACY_RANGE,
    AXES,
    choice_menu,
    drawn_first,
    finetune_title,
    panel_height,
    pretrain_title,
    protocols,
    require_only,
    run_looks,
    set_layout,
    text_of,
)
from gpt_math_domains.results.baselines import overall, read_baselines
from gpt_math_domains.results.grid import grid_keys, read_grid
from gpt_math_domains.results.statistics import (
    THRESHOLDS,
    Interval,
    between,
    first_step,
    mean_interval,
)
from gpt_math_domains.run import ACCURACY

WIDE = 10  # times the smallest value: further apart, numbers do not fit a linear axis
_CELL = 64  # pixels that a cell of a heatmap is wide, at least
_PANEL = 230  # and a heatmap
_GREY = "#DDDDDD"  # of cells without a value


def varied_keys(runs: pd.DataFrame) -> list[str]:
    """Return the keys of a grid that have several values, those with the most of them first.

    Where none has, that is the first key that concerns the runs.
    """
    keys = [key for key in grid_keys(runs) if runs[key].notna().any()]
    several = [key for key in keys if runs[key].nunique() > 1]
    return sorted(several, key=lambda key: -runs[key].nunique()) or keys[:1]


def ordered(values: "pd.Series[str]") -> list[str]:
    """Return the values of a key, ascending where all are numbers, else in the table's order."""
    found = [str(value) for value in values.dropna().unique()]
    return sorted(found, key=float) if _numbers(found) is not None else found


def spread(runs: pd.DataFrame, keys: Sequence[str]) -> pd.DataFrame:
    """Return runs that some keys do not concern once for each value of these."""
    for key in keys:
        free = runs[key].isna()
        copies = [runs[free].assign(**{key: value}) for value in ordered(runs[key])]
        runs = pd.concat([runs[~free], *copies], ignore_index=True)
    return runs


def grid_lines(
    runs: pd.DataFrame,
    key: str,
    metric: str,
    colors: Sequence[str] | None,
    title: str,
    baseline: float | None = None,
) -> go.Figure:
    """Draw final accuracy and first steps at some accuracies against one key.

    Lines are means over seeds with their 95% interval (Student t), one for each model; a mean of
    steps is there if all seeds got to the accuracy. Small points are seeds, their steps halfway
    between two evaluations, and open triangles those that did not get there, at their last step.
    Protocols and models look, and the legend switches them, as in `lines.model_lines`. Accuracies
    that no seed got to have no plot.

    Args:
        runs: of one data (and domain) version, as `grid.read_grid` returns them.
        key: the column of the key.
        metric: `math_acc` or `domain_acc`.
        colors: see `looks.run_looks`.
        title: the figure's title.
        baseline: the accuracy to beat; NaN for none, as where the data vary.
    """
    limits, names = _reached(runs), ordered(runs[key])
    axis, places = _axis(names)
    figure = make_subplots(
        rows=1 + len(limits),
        shared_xaxes=True,
        vertical_spacing=0.1 / (1 + len(limits)),
    )
    looks, every = run_looks(runs, colors), protocols(runs)
    shown, dashes = drawn_first(every), protocol_dashes(every, colors)
    told_apart = has_protocols(runs)
    for (protocol, model), look in looks.items():
        own = runs[(runs["protocol"].fillna("") == protocol) & (runs["model"] == model)]
        if own.empty:
            continue
        told = told_run(protocol, model)
        common = {"meta": run_keys(protocol, model), "visible": protocol in shown}
        line = {"color": look["color"], "width": 2, "dash": dashes[protocol]}
        for row, limit in enumerate([None, *limits], 1):
            means = {value: _mean(part, limit) for value, part in own.groupby(key)}
            there = [value for value in names if value in means]
            figure.add_scatter(
                **_points([places[value] for value in there], [means[v] for v in there]),
                **common,
                mode="lines+markers",
                line=line,
                marker=look | {"size": 9},
                name=(told if told_apart else str(model)) if row == 1 else None,
                showlegend=False,
                text=there,
                hovertemplate=f"{told}<br>{key} %{{text}}<br>"
                + (f"{AXES[metric]} %{{y:.4f}}" if row == 1 else "mean step %{y:,.0f}")
                + "<extra></extra>",
                row=row,
                col=1,
            )
            for seeds in _seed_points(own, limit, key, places, look, told):
                figure.add_trace(seeds.update(common), row=row, col=1)
    figure.add_traces(list(run_switches(runs, colors)), rows=1, cols=1)
    if baseline is not None and not np.isnan(baseline):
        first, last = places[names[0]], places[names[-1]]
        figure.add_trace(baseline_line((first, last), baseline, AXES[metric]), row=1, col=1)
    legend = "" if told_apart else "model"
    set_layout(figure, title, legend=legend, height=panel_height(1 + len(limits)))
    figure.update_xaxes(axis | {"showticklabels": True})
    figure.update_xaxes(title_text=key, row=1 + len(limits))
    figure.update_yaxes(title_text=f"final {metric}", range=ACCURACY_RANGE, row=1)
    for row, limit in enumerate(limits, start=2):
        figure.update_yaxes(
            title_text=f"steps to {limit} (△ more)", type="log", rangemode="normal", row=row
        )
    return figure


def grid_heatmaps(
    runs: pd.DataFrame,
    keys: Sequence[str],
    metric: str,
    title: str,
    baseline: float | None = None,
) -> go.Figure:
    """Draw final accuracy and first steps at some accuracies against two keys.

    Each model has a row of heatmaps. A cell is the mean over seeds; where not all of them got to an
    accuracy, it tells how many did. Accuracies that no seed got to have no plot. A menu chooses the
    protocol, the values of further keys, and how far the final accuracy lies above the baseline.

    Args:
        runs: of one data (and domain) version, as `grid.read_grid` returns them.
        keys: the columns of the keys: across, down, and further ones.
        metric: `math_acc` or `domain_acc`.
        title: the figure's title.
        baseline: see `grid_lines`.
    """
    beaten = np.nan if baseline is None else baseline
    across, down, *further = keys
    xs, ys = ordered(runs[across]), ordered(runs[down])
    limits, models = _reached(runs), sorted(runs["model"].unique().tolist())
    measures = [None, *limits]
    figure = make_subplots(
        rows=len(models),
        cols=len(measures),
        shared_xaxes=True,
        shared_yaxes=True,
        horizontal_spacing=0.03,
        vertical_spacing=0.15 / len(models),
        column_titles=[f"final {metric}", *(f"steps to {limit}" for limit in limits)],
        row_titles=[f"model {model}" for model in models],
    )
    shown: list[str | frozenset[str]] = []
    choices = dict(_choices(runs, further))
    offered = {
        choice: [choice or "accuracy", f"{choice}, {ABOVE}" if choice else ABOVE]
        for choice in choices
    }
    for choice, chosen in choices.items():
        for (row, model), (column, limit) in product(enumerate(models, 1), enumerate(measures, 1)):
            own = chosen[chosen["model"] == model].groupby([down, across])
            cells = {(str(y), str(x)): seeds for (y, x), seeds in own}
            colors, words = _cells(cells, xs, ys, limit)
            told = f"model {model}{f', {text_of(choice)}' if choice else ''}"
            told += f"<br>{across} %{{x}}<br>{down} %{{y}}<br>"
            common: dict[str, Any] = {"x": xs, "y": ys, "xgap": 2, "ygap": 2, "hoverongaps": False}
            figure.add_heatmap(
                **common,
                z=colors,
                text=words,
                coloraxis="coloraxis2" if limit else "coloraxis",
                texttemplate="%{text}",
                hovertemplate=told
                + ("mean step %{text}" if limit else f"{AXES[metric]} %{{z:.4f}}")
                + "<extra></extra>",
                visible=choice == next(iter(choices)),
                row=row,
                col=column,
            )
            shown.append(frozenset(offered[choice]) if limit else offered[choice][0])
            if limit or np.isnan(beaten):
                continue
            figure.add_heatmap(
                **common,
                z=np.array(colors) - beaten,
                coloraxis="coloraxis3",
                texttemplate="%{z:+.2f}",
                hovertemplate=told + f"{ABOVE} ({beaten:.4f}) %{{z:+.4f}}<extra></extra>",
                visible=False,
                row=row,
                col=column,
            )
            shown.append(offered[choice][1])
    set_layout(figure, title, height=panel_height(len(models)))
    ends = [_steps(runs, limit)["at"].agg(["min", "max"]) for limit in limits]
    low, high = np.log10(
        [min(e["min"] for e in ends), max(e["max"] for e in ends)] if ends else [1, 10]
    )
    figure.update_layout(
        plot_bgcolor=_GREY,
        coloraxis={"colorscale": "Viridis", "cmin": 0, "cmax": 1, "showscale": False},
        coloraxis2={  # light is good: few steps
            **{"colorscale": "Viridis", "reversescale": True, "showscale": False},
            **{"cmin": float(low), "cmax": float(max(high, low + 0.01))},
        },
        coloraxis3=ABOVE_SCALE | {"showscale": False},
        meta={"description": _described(next(iter(choices.values())), keys[:2], metric)},
    )
    width = 110 + len(measures) * max(_PANEL, _CELL * len(xs))
    figure.update_layout(meta=figure.layout.meta | {"min_width": width})
    figure.update_xaxes(type="category", showgrid=False, categoryarray=xs)
    figure.update_xaxes(title_text=across, row=len(models))
    figure.update_yaxes(type="category", showgrid=False, categoryarray=ys, automargin=True)
    figure.update_yaxes(title_text=down, col=1)
    kinds = 1 if np.isnan(beaten) else 2
    choice_menu(figure, [name for names in offered.values() for name in names[:kinds]], shown)
    return figure


def plot_grid(
    grid_csv: str | Path,
    data: int,
    colors: Sequence[str] | None,
    output: str | Path,
    *,
    baselines: str | Path,
    domain: int | None = None,
) -> None:
    """Write the page about a grid on a data version: lines for one key, else heatmaps for two.

    Args:
        grid_csv: the table of the grid.
        data: the data version.
        colors: see `grid_lines`.
        output: the page.
        baselines: of the data (and domain) version; points that change the data have none.
        domain: the domain version in finetuning, None in pretraining.

    Raises:
        ValueError: the table is malformed, or has no runs of these versions.
    """
    phase = "pretrain" if domain is None else "finetune"
    runs = read_grid(grid_csv)
    runs = runs[(runs["phase"] == phase) & (runs["data"] == data)]
    title = pretrain_title(data)
    if domain is not None:
        runs, title = runs[runs["domain"] == domain], finetune_title(domain, data)
    require_only(runs, "data", data)
    keys, metric = varied_keys(runs), ACCURACY[phase]
    same_data = not runs["point"].str.contains("data.", regex=False).any()
    known = read_baselines([baselines])
    baseline = overall(known, runs.iloc[0].to_dict()) if same_data else None
    runs = spread(runs, keys)
    if len(keys) == 1:
        figure = grid_lines(runs, keys[0], metric, colors, f"{title}, grid", baseline)
    else:
        figure = grid_heatmaps(runs, keys, metric, f"{title}, grid", baseline)
    write_figure(figure, output)


def _reached(runs: pd.DataFrame) -> list[float]:
    """Return the accuracies that a seed got to."""
    return [limit for limit in THRESHOLDS if runs[f"by_{limit}"].notna().any()]


def _steps(seeds: pd.DataFrame, limit: float) -> pd.DataFrame:
    """Return when seeds got to an accuracy, as `statistics.crossings` does."""
    return between(seeds[f"after_{limit}"], seeds[f"by_{limit}"])


def _mean(seeds: pd.DataFrame, limit: float | None) -> Interval:
    """Return the mean over seeds of the step with some accuracy, or of the final accuracy."""
    if limit is None:
        return mean_interval(seeds["final"].astype(float)).within(1)
    return first_step(_steps(seeds, limit)).within(float(seeds["steps"].max()))


def _numbers(values: Sequence[str]) -> list[float] | None:
    """Return values as numbers, None where one is none."""
    try:
        return [float(value) for value in values]
    except ValueError:
        return None


def _axis(names: Sequence[str]) -> tuple[dict[str, Any], dict[str, float | str]]:
    """Return an axis for some values in their order, and the place of each on it.

    It is linear for numbers that are not far apart, and logarithmic for others; numbers that are
    far apart and not all above 0, and other values, stand side by side.
    """
    numbers = _numbers(names)
    ticks = {"tickvals": numbers, "ticktext": list(names)}
    if numbers is not None:
        sizes = sorted(abs(number) for number in numbers if number)
        wide = len(sizes) > 1 and sizes[-1] >= WIDE * sizes[0]
        places: dict[str, float | str] = dict(zip(names, numbers, strict=True))
        if wide and min(numbers) > 0:
            room = max(0.1, 0.05 * np.log10(sizes[-1] / sizes[0]))
            ends = [float(np.log10(sizes[0]) - room), float(np.log10(sizes[-1]) + room)]
            return {"type": "log", "range": ends, **ticks}, places
        if not wide:
            return {"rangemode": "normal", **ticks}, places
    return {"type": "category", "categoryarray": list(names)}, {name: name for name in names}


def _cells(
    seeds: Mapping[tuple[str, str], pd.DataFrame],
    xs: Sequence[str],
    ys: Sequence[str],
    limit: float | None,
) -> tuple[list[list[float]], list[list[str]]]:
    """Return the colours and the words of a heatmap's cells, by row.

    Args:
        seeds: the seeds' results by (down, across); not all points need be there.
        xs: the values across.
        ys: the values down.
        limit: the accuracy whose steps are drawn, as logarithms; None for the final accuracy.
    """
    colors = [[np.nan] * len(xs) for _ in ys]
    words = [[""] * len(xs) for _ in ys]
    for (i, y), (j, x) in product(enumerate(ys), enumerate(xs)):
        found = seeds.get((y, x))
        if found is None:
            continue
        mean = _mean(found, limit).mean
        if limit is None:
            colors[i][j], words[i][j] = mean, f"{mean:.2f}"
        elif (there := int(found[f"by_{limit}"].notna().sum())) < len(found):
            words[i][j] = f"{there} of {len(found)}"
        else:
            colors[i][j], words[i][j] = float(np.log10(mean)), f"{mean:,.0f}"
    return colors, words


def _points(x: Sequence[float | str], means: Sequence[Interval]) -> dict[str, Any]:
    """Return means with their intervals as what plotly takes."""
    return {
        "x": list(x),
        "y": [found.mean for found in means],
        "error_y": {
            "array": [found.high - found.mean for found in means],
            "arrayminus": [found.mean - found.low for found in means],
            "thickness": 1.5,
        },
    }


def _seed_points(
    runs: pd.DataFrame,
    limit: float | None,
    key: str,
    places: dict[str, float | str],
    look: Mapping[str, str],
    told: str,
) -> Iterator[go.Scatter]:
    """Yield the seeds: their final accuracies, or their steps to an accuracy.

    Seeds that did not get there have a trace of their own, at their last step.
    """
    dot = {"symbol": f"{look['symbol']}-open", "size": 5}
    more = {"symbol": "triangle-up-open", "size": 10}
    if limit is None:
        parts = [(runs, runs["final"], dot, "%{y:.4f}")]
    else:
        reached = _steps(runs, limit)
        there = reached["at"].notna()
        between_two = "between steps %{customdata[1]:,.0f} and %{customdata[2]:,.0f}"
        parts = [
            (runs[there], reached[there]["at"], dot, between_two),
            (runs[~there], runs[~there]["steps"], more, "not by its last step, %{y:,}"),
        ]
    for own, y, marker, words in parts:
        columns = ["seed"] if limit is None else ["seed", f"after_{limit}", f"by_{limit}"]
        yield go.Scatter(
            x=[places[value] for value in own[key]],
            y=y.astype(float).to_numpy(),
            mode="markers",
            marker=marker | {"color": look["color"]},
            customdata=own[columns].to_numpy(dtype=float, na_value=np.nan),
            showlegend=False,
            hovertemplate=f"{told}, seed %{{customdata[0]}}<br>{words}<extra></extra>",
        )


def _choices(runs: pd.DataFrame, keys: Sequence[str]) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield the choices of a menu: protocols and values of keys, in words, and their runs."""
    drawn = protocols(runs)
    for protocol, *values in product(drawn, *(ordered(runs[key]) for key in keys)):
        chosen = runs[runs["protocol"].fillna("") == protocol]
        for key, value in zip(keys, values, strict=True):
            chosen = chosen[chosen[key] == value]
        words = [f"{key} {value}" for key, value in zip(keys, values, strict=True)]
        yield ", ".join(([protocol] if len(drawn) > 1 else []) + words), chosen


def _described(runs: pd.DataFrame, keys: Sequence[str], metric: str) -> str:
    """Return the ends of each model's final accuracy in words."""
    parts = []
    for model, own in runs.groupby("model"):
        means = own.groupby(list(keys), as_index=False)["final"].mean()
        best = means.loc[means["final"].idxmax()]
        parts.append(
            f"model {model}: final {metric} {means['final'].min():.3g} to {best['final']:.3g}, "
            f"highest at {', '.join(f'{key} {best[key]}' for key in keys)}"
        )
    return "; ".join(parts)
