from pathlib import Path

import plotly.graph_objects as go
import pytest

from gpt_math_domains.figures.drawing import read_drawing
from gpt_math_domains.figures.images import read_figure
from gpt_math_domains.figures.rules import plot_rules, rule_graph
from gpt_math_domains.results.rules import read_graph

# As Snakemake prints it, but for the colours.
PRINTED = """\
---
title: DAG
---
flowchart TB
\tid0[all]
\tid1[summarize]
\tid2[train]
\tid3[collect]
\tid2 --> id0
\tid1 --> id0
\tid3 --> id1
\tid2 --> id3
"""
EDGES = [("collect", "summarize"), ("summarize", "all"), ("train", "all"), ("train", "collect")]


def test_the_arrows_are_read_with_the_rules_names_in_one_order() -> None:
    assert read_graph(PRINTED) == EDGES
    assert read_graph("flowchart TB\n    b --> c\n    a --> b\n") == [("a", "b"), ("b", "c")]
    with pytest.raises(ValueError, match="expected a Mermaid flowchart"):
        read_graph("id0[all]\n")


def test_every_rule_stands_right_of_those_whose_files_it_uses() -> None:
    boxes = {box.text: box for box in rule_graph(EDGES, "Rules").layout.annotations}
    assert set(boxes) == {"all", "collect", "summarize", "train"}
    for first, second in EDGES:
        assert boxes[first].x < boxes[second].x


def arrows(figure: go.Figure) -> list[list[tuple[float, float]]]:
    """Return the points of each arrow up to its head, and check that it goes on behind the box."""
    [trace] = figure.data
    found: list[list[tuple[float, float]]] = [[]]
    for x, y, size in zip(trace.x, trace.y, trace.marker.size, strict=True):
        if x is None:
            assert size == 0
            found.append([])
            continue
        found[-1].append((x, y))
    ends = [place for place, x in enumerate(trace.x) if x is None]
    assert [place + 2 for place, size in enumerate(trace.marker.size) if size] == ends
    boxes = {(box.x, box.y) for box in figure.layout.annotations}
    assert all(arrow[-1] in boxes for arrow in found if arrow)
    return [arrow[:-1] for arrow in found if arrow]


def test_arrows_that_follow_from_others_are_left_out() -> None:
    drawn = arrows(rule_graph(EDGES, "Rules"))
    assert len(drawn) == len(EDGES) - 1  # train --> all follows from the others


def test_an_arrow_turns_towards_its_rule_and_has_its_head_at_the_left_of_it() -> None:
    figure = rule_graph([("first", "second"), ("first", "third")], "Rules")
    boxes = {box.text: (box.x, box.y) for box in figure.layout.annotations}
    ends = {arrow[-1] for arrow in arrows(figure)}
    assert ends == {(x - 0.4, y) for x, y in (boxes["second"], boxes["third"])}
    for *_, (before, across), (x, y) in arrows(figure):
        assert before < x and across == y


def test_long_arrows_run_between_the_rules() -> None:
    edges = [("a", "b"), ("b", "c"), ("c", "d"), ("other", "d")]
    figure = rule_graph(edges, "Rules")
    drawn = arrows(figure)
    assert len(drawn) == len(edges)
    boxes = [(box.x, box.y) for box in figure.layout.annotations]
    assert len(set(boxes)) == len(boxes)
    between = {point for arrow in drawn for point in arrow[1:-2]}
    assert len(between - set(boxes)) == 2  # where other --> d passes b and c


def test_the_page_is_the_same_each_time(tmp_path: Path) -> None:
    (tmp_path / "rules.mmd").write_text(PRINTED)
    for place in ("first", "again"):
        plot_rules(tmp_path / "rules.mmd", tmp_path / place / "rules.html")
    page, again = (tmp_path / place / "rules.html" for place in ("first", "again"))
    assert page.read_bytes() == again.read_bytes()
    assert read_figure(page).layout.title.text == "Rules"
    assert "train before collect" in read_drawing(page).description
    (tmp_path / "rules.mmd").write_text("")
    with pytest.raises(ValueError, match=r"rules.mmd: expected a Mermaid flowchart"):
        plot_rules(tmp_path / "rules.mmd", tmp_path / "first.html")
