"""What pretrained models learned: accuracy by operation and modulus, and by operands."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from gpt_math_domains.data.vocabulary import OPERATIONS
from gpt_math_domains.figures.drawing import write_figure
from gpt_math_domains.figures.looks import (
    choice_menu,
    panel_height,
    pretrain_title,
    require_only,
    set_layout,
)
from gpt_math_domains.results.answers import SPLITS, read_answers

PARTS = dict(zip(SPLITS, ("training", "validation"), strict=True))
ALL = "all operations"
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


def operation_heatmap(answers: pd.DataFrame, title: str) -> go.Figure:
    """Draw the share of right answers by operation and modulus.

    Each model version has a plot of the training equations and one of the validation equations.
    Shares are over equations and seeds.

    Args:
        answers: of one data version, as `answers.read_answers` returns them.
        title: the figure's title.
    """
    moduli = sorted(answers["modulo"].dropna().unique().tolist())
    order = [*(["none"] if answers["modulo"].isna().any() else []), *map(str, moduli)]
    named = answers.assign(modulo=answers["modulo"].astype("string").fillna("none"))
    figure = _grid(named)
    for row, column, model, split, part in _panels(named):
        share, count = _shares(part, ["operation", "modulo"])
        figure.add_heatmap(
            z=share.reindex(OPERATIONS, columns=order).to_numpy(),
            customdata=count.reindex(OPERATIONS, columns=order).to_numpy(),
            x=order,
            y=OPERATIONS,
            coloraxis="coloraxis",
            xgap=2,
            ygap=2,
            texttemplate="%{z:.2f}",
            hovertemplate=f"model {model}, {PARTS[split]}<br>%{{y}}, modulus %{{x}}<br>"
            "%{z:.4f} of %{customdata:,} answers are right<extra></extra>",
            row=row,
            col=column,
        )
    _set_layout(figure, title, "modulus", "operation")
    figure.update_xaxes(type="category")
    return figure


def operand_heatmap(answers: pd.DataFrame, title: str) -> go.Figure:
    """Draw the share of right answers by operand pair, a down and b across.

    Each model version has a plot of the training equations and one of the validation equations; a
    pair that has none there is blank. Shares are over operations, moduli and seeds; a menu chooses
    one operation. Where there are more than `CELLS` operands, neighbours share a cell.

    Args:
        answers: of one data version, as `answers.read_answers` returns them.
        title: the figure's title.
    """
    digits = int(answers[["a", "b"]].to_numpy().max(initial=0)) + 1
    width = -(-digits // CELLS)
    places = list(range(0, digits, width))
    binned = answers.assign(**{name: answers[name] // width * width for name in ("a", "b")})
    figure, shown = _grid(binned), []
    for choice in (ALL, *OPERATIONS):
        for row, column, model, split, part in _panels(binned):
            chosen = part if choice == ALL else part[part["operation"] == choice]
            share, count = _shares(chosen, ["a", "b"])
            figure.add_heatmap(
                z=share.reindex(places, columns=places).to_numpy(),
                customdata=count.reindex(places, columns=places).to_numpy(),
                x=places,
                y=places,
                coloraxis="coloraxis",
                hoverongaps=False,
                hovertemplate=f"model {model}, {PARTS[split]}, {choice}<br>a %{{y}}, b %{{x}}<br>"
                "%{z:.4f} of %{customdata:,} answers are right<extra></extra>",
                visible=choice == ALL,
                row=row,
                col=column,
            )
            shown.append(choice)
    _set_layout(figure, title, "second operand", "first operand")
    figure.update_layout(plot_bgcolor="#DDDDDD")  # of pairs without an equation
    choice_menu(figure, [ALL, *OPERATIONS], shown, below=60)
    return figure


def plot_answers(
    inputs: Sequence[str | Path], data: int, *, operations: str | Path, operands: str | Path
) -> None:
    """Write the two pages about what the models of a data version answer.

    Args:
        inputs: the models' answers.
        data: the data version.
        operations: the page by operation and modulus.
        operands: the page by operand pair.

    Raises:
        ValueError: a table is malformed or of another data version.
    """
    answers = read_answers(inputs)
    require_only(answers, "data", data)
    title = pretrain_title(data)
    write_figure(operation_heatmap(answers, f"{title}, operations"), operations)
    write_figure(operand_heatmap(answers, f"{title}, operands"), operands)


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


def _shares(answers: pd.DataFrame, by: list[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the share of right answers and their number, as tables of the two columns `by`."""
    groups = answers.groupby(by)["right"]
    return groups.mean().unstack(), groups.size().unstack()


def _set_layout(figure: go.Figure, title: str, x_title: str, y_title: str) -> None:
    rows = len(list(figure.select_yaxes())) // len(SPLITS)
    set_layout(figure, title, height=panel_height(rows))
    figure.update_layout(coloraxis=_SCALE)
    figure.update_xaxes(showgrid=False, title_text=x_title, row=rows)
    figure.update_yaxes(showgrid=False, autorange="reversed", automargin=True)
    figure.update_yaxes(title_text=y_title, col=1)
