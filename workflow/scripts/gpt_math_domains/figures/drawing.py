"""Figures as elements of pages: data as JSON, which one script draws with plotly.js."""

import html
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from gpt_math_domains.figures.captions import anchor_of, caption_of, page_of
from gpt_math_domains.files import write_text

_DESCRIBED = 12  # traces at most
_HERE = Path(__file__).parent


@dataclass(frozen=True)
class Drawing:
    """A figure as plotly.js takes it, and its words.

    Attributes:
        title: what it shows, with its axes.
        description: its content in words, for readers who cannot see it.
        data: the traces.
        layout: the layout.
    """

    title: str
    description: str
    data: list[dict[str, Any]]
    layout: dict[str, Any]


def drawing_of(figure: go.Figure) -> Drawing:
    """Return what a page needs of a figure; the same figure gives the same."""
    axes = [axis.title.text for axis in figure.select_yaxes() if axis.title.text]
    title = ", ".join([html.unescape(figure.layout.title.text or ""), *axes])
    told = json.loads(figure.to_json())
    return Drawing(title, describe(figure), told["data"], told["layout"])


def read_drawing(path: str | Path) -> Drawing:
    """Read the figure from a page that `write_figure` wrote.

    Raises:
        ValueError: the file is no such page.
        OSError: the file cannot be read.
    """
    text = Path(path).read_text(encoding="utf-8", errors="replace")
    found = re.findall(r'<script type="application/json">(.*?)</script>', text, re.DOTALL)
    try:
        [element] = found
        return Drawing(**json.loads(element))
    except (ValueError, TypeError):
        raise ValueError(f"{path}: expected the page of one figure") from None


def figure_element(drawing: Drawing, name: str, toolbar: bool = False) -> Markup:
    """Return the HTML element of a figure, on a page that has plotly.js and `drawing_script`.

    A figure with a `min_width` (pixels) in its layout's `meta` is scrolled where there is less.

    Args:
        drawing: the figure; nothing in it can end the element that it is written into.
        name: the element's id.
        toolbar: whether plotly's buttons stand above the figure.
    """
    # Of its own, in pixels: the page keeps that much free before it is drawn.
    height, width = drawing.layout.get("height"), drawing.layout.get("meta", {}).get("min_width")
    content = json.dumps(vars(drawing), ensure_ascii=False).replace("<", r"\u003c")
    element = Markup(
        '<div class="plot" id="{}" role="group" aria-label="{}" data-description="{}"{}{}></div>\n'
        '<script type="application/json">{}</script>'
    ).format(
        name,
        drawing.title,
        drawing.description,
        Markup(" data-toolbar") if toolbar else "",
        Markup(' style="height: {:d}px"').format(round(height)) if height else "",
        Markup(content),  # noqa: S704 - JSON without a `<`
    )
    if not width:
        return element
    inside = Markup('<div style="min-width: {:d}px">\n{}\n</div>').format(round(width), element)
    scrolled = Markup('<div class="pan" role="region" aria-label="{}" tabindex="0">\n{}\n</div>')
    return scrolled.format(f"{drawing.title}, to be scrolled", inside)


def drawing_script() -> Markup:
    """Return the script that draws the figures of a page."""
    return Markup((_HERE / "drawing.js").read_text(encoding="utf-8"))  # noqa: S704 - our own


def templates(directory: Path) -> Environment:
    """Return the environment of the page templates in a directory; it escapes what they hold."""
    return Environment(
        loader=FileSystemLoader(directory),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def write_figure(figure: go.Figure, path: str | Path, plotly_js: str = "plotly.min.js") -> None:
    """Write a figure as a page of its own; the same figure gives the same bytes.

    Its name decides the caption, and where its link back to the study leads: to the figure there,
    which is left out if it has nothing to show.

    Args:
        figure: the figure.
        path: the page.
        plotly_js: where the page finds plotly.js, relative to itself.
    """
    drawing = drawing_of(figure)
    page, name = templates(_HERE).get_template("drawing.html.jinja"), Path(path).stem
    text = page.render(
        title=drawing.title,
        name=html.unescape(figure.layout.title.text or drawing.title),
        caption=caption_of(name),
        study=f"../{page_of(name)}{f'#{anchor_of(name)}' if drawing.data else ''}",
        plotly_js=plotly_js,
        script=drawing_script(),
        figure=figure_element(drawing, "figure", toolbar=True),
    )
    write_text(path, text)


def describe(figure: go.Figure) -> str:
    """Return the content of a figure in words: of each line its ends, of a heatmap its range.

    What waits for a choice in a menu has no words. A figure whose traces say little has its own,
    `description` in its layout's `meta`.
    """
    if words := (figure.layout.meta or {}).get("description"):
        return str(words)
    parts, group = [], ""
    for trace in figure.data:
        # A heading of the legend stands above its first entry, and is meant for those after it.
        group = getattr(getattr(trace, "legendgrouptitle", None), "text", None) or group
        unseen = trace.hoverinfo == "skip" or trace.visible is False
        if unseen or not (trace.name or trace.type == "heatmap"):
            continue
        named = trace.name and not trace.name.startswith("baseline")  # else no heading is for it
        heading = figure.layout.legend.title.text if named else ""
        name = " ".join(filter(None, [heading, trace.name, group]))
        parts.append(f"{name}: {_ends(trace)}" if name else _ends(trace))
    more = [f"and {len(parts) - _DESCRIBED} more"] if len(parts) > _DESCRIBED else []
    return html.unescape(re.sub(r"<[^>]*>", " ", "; ".join(parts[:_DESCRIBED] + more)))


def _ends(trace: Any) -> str:
    """Return where a trace begins and ends, in words."""
    if trace.type == "heatmap":
        values = np.asarray(trace.z, dtype=float)
        known = values[np.isfinite(values)]
        size = " by ".join(map(str, values.shape)) + " values"
        return f"{size}, {known.min():.3g} to {known.max():.3g}" if len(known) else size
    if trace.x is None or trace.y is None or len(trace.y) == 0:
        return "no values"
    first, last = (f"{_number(trace.y[end])} at {_number(trace.x[end])}" for end in (0, -1))
    return last if first == last else f"{first}, {last}"


def _number(value: Any) -> str:
    """Return a coordinate as people read it."""
    if isinstance(value, int | np.integer):
        return f"{value:,}"
    return f"{value:,.3g}" if isinstance(value, float | np.floating) else str(value)
