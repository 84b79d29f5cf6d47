"""Static images of figures, drawn by plotly.js in the system's Chromium."""

import re
from pathlib import Path
from typing import Any

import kaleido
import plotly.graph_objects as go
from choreographer.errors import ChromeNotFoundError

from gpt_math_domains.figures.drawing import read_drawing
from gpt_math_domains.files import atomic_write

WIDTH, HEIGHT = 900, 560  # in pixels; a figure of another height keeps its own
PNG_SCALE = 2  # pixels of a PNG for each of these
NO_BROWSER = (
    "no Chromium or Chrome is here, which draws images: install one (Debian: apt-get install "
    "chromium), or name its program in the environment variable BROWSER_PATH"
)


def read_figure(page: str | Path) -> go.Figure:
    """Return the figure on a page that `drawing.write_figure` wrote.

    Raises:
        ValueError: the page has no figure.
        OSError: the page cannot be read.
    """
    drawing = read_drawing(page)
    return go.Figure(data=drawing.data, layout=drawing.layout)


def export_image(page: str | Path, output: str | Path) -> None:
    """Write a page's figure as an image, without its buttons; the suffix tells the format.

    The same figure, fonts and Chromium give the same SVG.

    Args:
        page: see `read_figure`.
        output: `.svg`, `.png` or `.pdf`.

    Raises:
        ValueError: the page has no figure.
        RuntimeError: there is no Chromium.
    """
    figure = read_figure(page)
    figure.layout.updatemenus = ()
    for number, trace in enumerate(figure.data):
        trace.uid = str(number)  # else it is random
    kind = Path(output).suffix[1:]
    options: dict[str, Any] = {
        "format": kind,
        "width": WIDTH,
        "height": figure.layout.height or HEIGHT,
        "scale": PNG_SCALE if kind == "png" else 1,
    }
    try:
        drawn = kaleido.calc_fig_sync(figure.to_dict(), opts=options)
    except ChromeNotFoundError:
        raise RuntimeError(NO_BROWSER) from None
    if kind == "svg":
        drawn = _with_fixed_names(drawn.decode("utf-8")).encode("utf-8")
    with atomic_write(output, "wb") as handle:
        handle.write(drawn)


def _with_fixed_names(svg: str) -> str:
    """Return an SVG in which the random part of plotly.js's names is the same each time."""
    random = re.search(r'id="(?:defs|topdefs|clip|legend)-?([0-9a-f]{6})', svg)
    return svg if random is None else svg.replace(random[1], "figure")
