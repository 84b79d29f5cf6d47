"""What all figures share: how they look, and the pages that they are drawn on."""

import html
from collections.abc import Sequence
from itertools import cycle

import pandas as pd
import plotly.graph_objects as go

_ACCURACIES = {
    "{}": "eval/{}",
    "train_{}": "train/{}, no dropout",
    "mirrored_{}": "eval/{}, mirrored",
    "unmirrored_{}": "eval/{}, not mirrored",
}
AXES = {
    **{
        column.format(accuracy): words.format(accuracy)
        for accuracy in ("math_acc", "domain_acc")
        for column, words in _ACCURACIES.items()
    },
    "accuracy": "accuracy",
    "eval_loss": "eval/loss",
    "train_loss": "train/loss",
    "train_eval_loss": "train/loss, no dropout",
    "grad_norm": "gradient norm",
    "weight_norm": "weight norm",
}
"""What measures are called on axes and in hover texts."""
DASHES = ("solid", "14px,6px", "14px,5px,3px,5px", "5px,5px")  # dots are for references
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "star")
MARKERS = 12  # shown on a line, at most
# Told apart with any colour vision (Okabe and Ito 2008, "Color Universal Design"), the strongest on
# white first; not yellow, which is too pale there.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000", "#56B4E9", "#E69F00")
PROTOCOL_COLORS = dict(zip(("full", "scratch", "frozen", "random_frozen"), COLORS, strict=False))
NEUTRAL = "#6B6B6B"  # of what stands for all colours in a legend, and of baselines
LAYOUT = {
    "template": "none",
    "font": {"family": "system-ui, sans-serif", "size": 14, "color": "#222222"},
    # Right above the plot, below plotly's buttons, and at the left edge: fits narrow screens.
    "title": {"x": 0, "pad": {"b": 12, "l": 12}, "y": 1, "yref": "paper", "yanchor": "bottom"},
    "legend": {"title": {"text": "model"}, "tracegroupgap": 6, "itemwidth": 48},
    "hovermode": "closest",
    "hoverlabel": {"align": "left"},
    "margin": {"l": 70, "r": 20, "t": 80, "b": 60},
}
AXIS = {
    "gridcolor": "#E5E5E5",
    "linecolor": "#888888",
    "showline": True,
    "zeroline": False,
    "rangemode": "tozero",
}
ABOVE = "accuracy minus baseline"  # what menus of heatmaps call it
ABOVE_SCALE = {
    "colorscale": "RdBu",  # red below, blue above, for most colour vision
    "cmin": -1,
    "cmax": 1,
}
ACCURACY_RANGE = (0, 1.03)  # so that a line at 1 is drawn whole
_MENU_BELOW = 75  # the plot, in pixels: under the axis' title, and buttons on narrow screens
MENU = {  # below the plot, at its right edge, beside the axis title
    "x": 1,
    "xanchor": "right",
    "y": 0,
    "yanchor": "top",
    "pad": {"t": 30, "r": 0},
    "font": {"size": 12},
    "bgcolor": "#FFFFFF",
    "bordercolor": "#888888",
}


def pretrain_title(data: int) -> str:
    """Return the title of a data version's pretraining figures."""
    return f"Pretrain Data:{data}"


def finetune_title(domain: int, data: int) -> str:
    """Return the title of a domain version's finetuning figures on a data version."""
    return f"Finetune Domain: {domain} Pretrain Data:{data}"


def protocols(metrics: pd.DataFrame) -> list[str]:
    """Return the protocols in a metrics table, the one to draw first; in pretraining `[""]`."""
    found = metrics["protocol"].drop_duplicates().fillna("").tolist()
    order = list(PROTOCOL_COLORS)
    return sorted(found, key=lambda name: order.index(name) if name in order else len(order))


def drawn_first(names: Sequence[str]) -> list[str]:
    """Return the protocols to draw first: one, and what starts at random and trains the same."""
    first, others = names[0], set(names)
    pairs = {"full": "scratch", "frozen": "random_frozen"}
    return [first, *others.intersection([pairs.get(first, "")])]


def run_looks(
    metrics: pd.DataFrame, colors: Sequence[str] | None
) -> dict[tuple[str, int], dict[str, str]]:
    """Return `color` and `symbol` of each protocol and model version.

    The symbol tells the model. With colours given, so does the colour; without, it tells the
    protocol, where there are several.

    Args:
        metrics: with the columns `protocol` and `model`.
        colors: of the model versions in ascending order, repeated if they are too few; None for
            those that are told apart with any colour vision.
    """
    names = protocols(metrics)
    looks = {
        (protocol, model): dict(look)
        for protocol in names
        for model, look in model_looks(metrics, COLORS if colors is None else colors).items()
    }
    if colors is None and len(names) > 1:
        spare = cycle(COLORS[len(PROTOCOL_COLORS) :])
        for protocol in names:
            color = PROTOCOL_COLORS.get(protocol) or next(spare)
            for (name, _), look in looks.items():
                if name == protocol:
                    look["color"] = color
    return looks


def model_looks(metrics: pd.DataFrame, colors: Sequence[str]) -> dict[int, dict[str, str]]:
    """Return `color` and `symbol` of each model version, which are repeated if too few."""
    looks = zip(cycle(colors), cycle(SYMBOLS), strict=False)
    return {
        model: {"color": color, "symbol": symbol}
        for model, (color, symbol) in zip(
            sorted(metrics["model"].unique().tolist()), looks, strict=False
        )
    }


def text_of(value: str) -> str:
    """Return text that plotly.js, which reads some HTML tags, shows as it is."""
    return html.escape(value, quote=False)


def set_layout(
    figure: go.Figure, title: str, legend: str = "model", height: int | None = None
) -> None:
    """Give a figure its title and the looks that all have.

    Args:
        figure: to change.
        title: of the figure.
        legend: the legend's title.
        height: in pixels, where several plots need more than most windows are high.
    """
    figure.update_layout(LAYOUT, title_text=text_of(title), legend_title_text=legend, height=height)
    figure.update_xaxes(AXIS)
    figure.update_yaxes(AXIS)
    if figure.layout.annotations:  # titles of plots, which the figure's own stands above
        figure.update_annotations(font_size=13)
        figure.update_layout(title_pad_b=30, margin_t=100)


def panel_height(rows: int) -> int:
    """Return the height of a figure with some rows of plots, in pixels."""
    return max(480, 160 + 260 * rows)


def choice_menu(
    figure: go.Figure, choices: Sequence[str], shown: Sequence[str | frozenset[str]]
) -> None:
    """Let the reader choose which traces are drawn, if there is a choice.

    Args:
        figure: to change.
        choices: their names, the one drawn first at the start.
        shown: the choice to which each trace belongs, or several.
    """
    if len(choices) < 2:
        return
    belongs = [frozenset([own]) if isinstance(own, str) else own for own in shown]
    buttons = [
        {
            "label": text_of(choice),
            "method": "restyle",
            "args": [{"visible": [choice in own for own in belongs]}],
        }
        for choice in choices
    ]
    place = {"x": 0, "xanchor": "left", "pad": {"t": _MENU_BELOW}, "direction": "up"}
    menu = MENU | place | {"type": "dropdown", "buttons": buttons, "active": 0}
    figure.update_layout(updatemenus=[*figure.layout.updatemenus, menu], margin_b=_MENU_BELOW + 45)


def add_step_buttons(figure: go.Figure) -> None:
    """Let the reader choose between linear and logarithmic steps on all horizontal axes."""
    axes = [axis.plotly_name for axis in figure.select_xaxes()]
    buttons = [
        {
            "label": label,
            "method": "relayout",
            "args": [
                {f"{axis}.type": kind for axis in axes}
                | {f"{axis}.autorange": True for axis in axes}
            ],
        }
        for label, kind in (("linear", "linear"), ("log", "log"))
    ]
    menu = MENU | {"type": "buttons", "direction": "right", "buttons": buttons, "active": 0}
    figure.update_layout(updatemenus=[*figure.layout.updatemenus, menu])


def require_only(metrics: pd.DataFrame, name: str, value: int) -> None:
    """Raise ValueError unless a table has rows and one version only."""
    found = metrics[name].unique().tolist()
    if found != [value]:
        raise ValueError(f"the metrics are of {name} versions {found}; the figure is of {value}")
