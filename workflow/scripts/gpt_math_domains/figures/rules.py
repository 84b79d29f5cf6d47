"""The rules of the workflow and which uses whose files, as Snakemake tells them."""

import re
from itertools import pairwise
from pathlib import Path

import igraph
import plotly.graph_objects as go

from gpt_math_domains.figures.drawing import write_figure
from gpt_math_domains.figures.looks import set_layout, text_of
from gpt_math_domains.files import errors_name
from gpt_math_domains.results.rules import read_graph

Edge = tuple[str, str]

_WIDE = 14  # characters
_HEAD = 0.4  # of a column, from the middle of a box to the heads of arrows that lead into it
_TURN = 0.46  # and to where they turn towards it
_COLUMN = 125  # pixels, at least: a box of the widest name, and room for arrows


def rule_graph(edges: list[Edge], title: str) -> go.Figure:
    """Draw the rules in columns, each to the right of those whose files it uses.

    An arrow that follows from others is left out (the transitive reduction): most rules need the
    equations, and the target needs all.

    The order in the columns is that of Sugiyama, Tagawa and Toda (1981, "Methods for Visual
    Understanding of Hierarchical System Structures").

    Args:
        edges: of a graph without cycles, as `results.rules.read_graph` returns them.
        title: the figure's title.
    """
    columns = _columns(edges)
    paths, places = _place(reduced(edges), columns)
    lines: list[tuple[float | None, float | None, int]] = []
    for path in paths:
        x, y = places[path[-1]]
        before = [(*places[point], 0) for point in path[:-1]]
        # Boxes are narrower than arrows leave room for, and lie over the rest of the line.
        lines += [*before, (x - _TURN, y, 0), (x - _HEAD, y, 9), (x, y, 0), (None, None, 0)]
    figure = go.Figure()
    figure.add_scatter(
        x=[x for x, _, _ in lines],
        y=[y for _, y, _ in lines],
        mode="lines+markers",
        line={"color": "#999999", "width": 1.5},
        # Turned the way that the arrow goes.
        marker={"color": "#888888", "symbol": "arrow", "angleref": "previous"}
        | {"size": [size for _, _, size in lines]},
        hoverinfo="skip",
        showlegend=False,
    )
    set_layout(figure, title)
    for rule in columns:
        x, y = places[rule]
        figure.add_annotation(
            x=x,
            y=y,
            text=_in_lines(text_of(rule)),
            showarrow=False,
            font={"size": 10},
            bgcolor="#FFFFFF",
            bordercolor="#0072B2",
            borderpad=4,
        )
    figure.layout.meta = {
        "description": "; ".join(f"{first} before {second}" for first, second in reduced(edges)),
        "min_width": _COLUMN * (max(columns.values()) + 1),
    }
    widest = max(y for _, y in places.values())
    figure.update_layout(height=160 + 50 * round(widest + 1), margin={"l": 20, "b": 20})
    figure.update_xaxes(visible=False, range=[-0.5, max(columns.values()) + 0.5])
    figure.update_yaxes(visible=False, range=[widest + 0.5, -0.5])
    return figure


def plot_rules(graph: str | Path, output: str | Path) -> None:
    """Write the page with the rule graph of a Mermaid flowchart.

    Raises:
        ValueError: the file is no such graph.
        OSError: the file cannot be read.
    """
    with errors_name(graph):
        edges = read_graph(Path(graph).read_text(encoding="utf-8"))
    write_figure(rule_graph(edges, "Rules"), output)


def _in_lines(rule: str) -> str:
    """Return a rule's name, broken at underscores where it is wider than a box shall be."""
    return "<br>".join(re.findall(rf".{{1,{_WIDE}}}(?:(?<=_)|$)|[^_]+_?", rule))


def _columns(edges: list[Edge]) -> dict[str, int]:
    """Return the column of each rule: one more than the last of those it uses."""
    columns = dict.fromkeys(sorted({rule for edge in edges for rule in edge}), 0)
    for _ in columns:  # a path is not longer than there are rules
        for first, second in edges:
            columns[second] = max(columns[second], columns[first] + 1)
    return columns


def reduced(edges: list[Edge]) -> list[Edge]:
    """Return the edges between rules that are joined in no other way."""
    after: dict[str, set[str]] = {}
    columns = _columns(edges)
    for rule in sorted(columns, key=lambda rule: -columns[rule]):
        uses = {second for first, second in edges if first == rule}
        after[rule] = uses.union(*(after[other] for other in uses))
    return [
        (first, second)
        for first, second in edges
        if not any(second in after[other] for start, other in edges if start == first)
    ]


def _place(
    edges: list[Edge], columns: dict[str, int]
) -> tuple[list[list[str]], dict[str, tuple[float, float]]]:
    """Return the points that each edge runs through, by name, and where all points are.

    An edge over several columns gets a point in each, so that it runs between the rules there.
    """
    layers, paths = dict(columns), []
    for first, second in edges:
        between = [f"{first} {second} {n}" for n in range(columns[first] + 1, columns[second])]
        layers |= {name: columns[first] + 1 + n for n, name in enumerate(between)}
        paths.append([first, *between, second])
    names = list(layers)
    number = {name: place for place, name in enumerate(names)}
    steps = [(number[a], number[b]) for path in paths for a, b in pairwise(path)]
    graph = igraph.Graph(n=len(names), edges=steps, directed=True)
    layout = graph.layout_sugiyama(layers=[layers[name] for name in names])
    across = [x for x, _ in layout.coords]
    least = min(across)
    return paths, {
        name: (float(layers[name]), x - least) for name, x in zip(names, across, strict=True)
    }
