"""What pretrained models learned: accuracy by operation and modulus, and by operands."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from gpt_math_domains.data.equations import ANSWERS
from gpt_math_domains.data.vocabulary import OPERATIONS
from gpt_math_domains.figures.drawing import write_figure
from gpt_math_domains.figures.looks import (
    ABOVE,
    ABOVE_SCALE,
    choice_menu,
    panel_height,
    pretrain_title,
    require_only,
    set_layout,
)
from gpt_math_domains.results.answers import SPLITS, read_answers
from gpt_math_domains.results.baselines import of_families, read_baselines

PARTS = dict(zip(SPLITS, ("training", "validation"), strict=True))
ALL = "all operations"
CHOICES = ("accuracy", ABOVE)
BASELINES = dict(zip(SPLITS, ("train_accuracy", "accuracy"), strict=True))
MISSING = "#DDDDDD"  # where there are no equations
CELLS = 64  # in a row of a plot, at most: with more operands, a cell is of several
_SCALE = {
    "colorscale": "Viridis",  # for any colour vision
    "cmin": 0,
    "cmax": 1,
    "colorbar": {
        **{"tickformat": ".0%", "thickness": 14, "outlinewidth": 0},
        "title": {"text": "right answers", "side": "right"},
    },
}
_ABOVE_SCALE = ABOVE_SCALE | {
    "colorbar": {
        **{"tickformat": "+.0%", "thickness": 14, "outlinewidth": 0},
        "title": {"text": "above baseline", "side": "right"},
    },
}


def operation_heatmap(
    answers: pd.DataFrame, title: str, baselines: pd.DataFrame | None = None
) -> go.Figure:
    """Draw the share of right answers by operation and modulus.

    Each model version has a plot of the training equations and one of the validation equations.
    Shares are over equations and seeds. A menu chooses how far they lie above the baseline.

    Args:
        answers: of one data version, as `answers.read_answers` returns them.
        title: the figure's title.
        baselines: of the data version, as `baselines.read_baselines` returns them.
    """
    moduli = sorted(answers["modulo"].dropna().unique().tolist())
    order = [*(["none"] if answers["modulo"].isna().any() else []), *map(str, moduli)]
    named = answers.assign(modulo=answers["modulo"].astype("string").fillna("none"))
    figure, shown = _grid(named), []
    known = (
        {split: pd.DataFrame() for split in SPLITS}
        if baselines is None
        else {split: of_families(baselines, column) for split, column in BASELINES.items()}
    )
    for choice in CHOICES[: 1 if baselines is None else None]:
        for row, column, model, split, part in _panels(named):
            share, count = (
                table.reindex(OPERATIONS, columns=order)
                for table in _shares(part, ["operation", "modulo"], ["right"])
            )
            baseline = known[split].reindex(OPERATIONS, columns=order)
            above = choice == ABOVE
            told = np.dstack([count, share, baseline])
            figure.add_heatmap(
                z=(share - baseline if above else share).to_numpy(),
                customdata=told,
                x=order,
                y=OPERATIONS,
                coloraxis="coloraxis2" if above else "coloraxis",
                xgap=2,
                ygap=2,
                texttemplate="%{z:+.2f}" if above else "%{z:.2f}",
                hoverongaps=False,
                hovertemplate=f"model {model}, {PARTS[split]}<br>%{{y}}, modulus %{{x}}<br>"
                "%{customdata[1]:.4f} of %{customdata[0]:,} answers are right"
                + ("" if baselines is None else "<br>baseline %{customdata[2]:.4f}")
                + "<extra></extra>",
                visible=not above,
                row=row,
                col=column,
            )
            shown.append(choice)
    _set_layout(figure, title, "modulus", "operation")
    figure.update_layout(plot_bgcolor=MISSING)
    figure.update_xaxes(type="category")
    if baselines is not None:
        figure.update_layout(coloraxis2=_ABOVE_SCALE)
        choice_menu(figure, CHOICES, shown)
    return figure


def operand_heatmap(
    answers: pd.DataFrame, title: str, baselines: pd.DataFrame | None = None
) -> go.Figure:
    """Draw the share of right answers by operand pair, a down and b across.

    Each model version has a plot of the training equations and one of the validation equations; a
    pair that has none there is blank. Shares are over operations, moduli and seeds; a menu chooses
    one operation, and how far shares lie above the baseline: the share of the same equations for
    which the most frequent answer is right. Where there are more than `CELLS` operands, neighbours
    share a cell.

    Args:
        answers: of one data version, as `answers.read_answers` returns them.
        title: the figure's title.
        baselines: of the data version, as `baselines.read_baselines` returns them.
    """
    digits = int(answers[["a", "b"]].to_numpy().max(initial=0)) + 1
    width = -(-digits // CELLS)
    places = list(range(0, digits, width))
    binned = answers.assign(**{name: answers[name] // width * width for name in ("a", "b")})
    if baselines is not None:
        binned["baseline"] = _baseline_is_right(answers, baselines)
    choices = {
        f"{operation}, {ABOVE}" if above else operation: (operation, above)
        for above in ((False,) if baselines is None else (False, True))
        for operation in (ALL, *OPERATIONS)
    }
    figure, shown, panels = _grid(binned), [], list(_panels(binned))
    of = ["right"] if baselines is None else ["right", "baseline"]
    shares = {
        (operation, row, column): [
            table.reindex(places, columns=places)
            for table in _shares(
                part if operation == ALL else part[part["operation"] == operation], ["a", "b"], of
            )
        ]
        for operation in (ALL, *OPERATIONS)
        for row, column, _, _, part in panels
    }
    for choice, (operation, above) in choices.items():
        for row, column, model, split, _ in panels:
            *told, count = shares[operation, row, column]
            figure.add_heatmap(
                z=(told[0] - told[-1] if above else told[0]).to_numpy(),
                customdata=np.dstack([count, *told]),
                x=places,
                y=places,
                coloraxis="coloraxis2" if above else "coloraxis",
                hoverongaps=False,
                hovertemplate=f"model {model}, {PARTS[split]}, {operation}<br>"
                "a %{y}, b %{x}<br>"
                "%{customdata[1]:.4f} of %{customdata[0]:,} answers are right"
                + ("" if baselines is None else "<br>baseline %{customdata[2]:.4f}")
                + "<extra></extra>",
                visible=choice == ALL,
                row=row,
                col=column,
            )
            shown.append(choice)
    _set_layout(figure, title, "second operand", "first operand")
    figure.update_layout(plot_bgcolor=MISSING)
    if baselines is not None:
        figure.update_layout(coloraxis2=_ABOVE_SCALE)
    choice_menu(figure, list(choices), shown)
    return figure


def plot_answers(
    inputs: Sequence[str | Path],
    data: int,
    *,
    baselines: str | Path,
    operations: str | Path,
    operands: str | Path,
) -> None:
    """Write the two pages about what the models of a data version answer.

    Args:
        inputs: the models' answers.
        data: the data version.
        baselines: of the data version.
        operations: the page by operation and modulus.
        operands: the page by operand pair.

    Raises:
        ValueError: a table is malformed or of another data version.
    """
    answers = read_answers(inputs)
    require_only(answers, "data", data)
    title, known = pretrain_title(data), read_baselines([baselines])
    write_figure(operation_heatmap(answers, f"{title}, operations", known), operations)
    write_figure(operand_heatmap(answers, f"{title}, operands", known), operands)


def _models(answers: pd.DataFrame) -> list[int]:
    return sorted(answers["model"].unique().tolist())


def _grid(answers: pd.DataFrame) -> go.Figure:
    """Return a figure with a row for each model version and a column for each split."""
    models = _models(answers)
    return make_subplots(
        rows=len(models),
        cols=len(SPLITS),
        shared_xaxes=True,
        shared_yaxes=True,
        horizontal_spacing=0.04,
        vertical_spacing=0.15 / len(models),
        column_titles=list(PARTS.values()),
        row_titles=[f"model {model}" for model in models],
    )


def _panels(answers: pd.DataFrame) -> Iterator[tuple[int, int, int, str, pd.DataFrame]]:
    """Yield row, column, model version, split and answers of each plot."""
    for row, model in enumerate(_models(answers), start=1):
        for column, split in enumerate(SPLITS, start=1):
            part = answers[(answers["model"] == model) & (answers["split"] == split)]
            yield row, column, model, split, part


def _baseline_is_right(answers: pd.DataFrame, baselines: pd.DataFrame) -> "pd.Series[float]":
    """Tell for which equations the most frequent answer of their family is right: 1, else 0."""
    right = pd.Series(np.nan, answers.index)
    named = baselines.dropna(subset=["operation", "answer"]).fillna({"modulo": 0})
    for operation, modulo, answer in named[["operation", "modulo", "answer"]].to_numpy():
        own = answers["operation"].eq(operation) & answers["modulo"].fillna(0).eq(modulo)
        result = ANSWERS[operation](*answers.loc[own, ["a", "b"]].to_numpy().T)
        if modulo:
            result = result % modulo
        right[own] = (result.astype(str) == answer).astype(float)
    return right


def _shares(answers: pd.DataFrame, by: list[str], of: list[str]) -> list[pd.DataFrame]:
    """Return the means of columns and the number of answers, as tables of the two columns `by`."""
    groups = answers.groupby(by)
    means = groups[of].mean()
    return [*(means[name].unstack() for name in of), groups.size().unstack()]


def _set_layout(figure: go.Figure, title: str, x_title: str, y_title: str) -> None:
    rows = len(list(figure.select_yaxes())) // len(SPLITS)
    set_layout(figure, title, height=panel_height(rows))
    figure.update_layout(coloraxis=_SCALE)
    figure.update_xaxes(showgrid=False)  # it would show where there are no equations
    figure.update_xaxes(title_text=x_title, row=rows)
    figure.update_yaxes(showgrid=False, autorange="reversed", automargin=True)
    figure.update_yaxes(title_text=y_title, col=1)
