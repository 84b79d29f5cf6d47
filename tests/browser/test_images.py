from pathlib import Path
from xml.etree import ElementTree

import plotly.graph_objects as go
import pytest

from gpt_math_domains.figures.drawing import write_figure
from gpt_math_domains.figures.images import HEIGHT, PNG_SCALE, WIDTH, export_image, read_figure
from gpt_math_domains.figures.looks import add_step_buttons, set_layout


@pytest.fixture
def page(tmp_path: Path) -> Path:
    figure = go.Figure(go.Scatter(x=[1, 2, 4], y=[0.1, 0.5, 0.9], name="<i>2</i>"))
    set_layout(figure, "</script>Title")
    add_step_buttons(figure)
    write_figure(figure, tmp_path / "page.html")
    return tmp_path / "page.html"


def test_a_pages_figure_is_read_as_it_was_written(page: Path) -> None:
    figure = read_figure(page)
    assert list(figure.data[0].y) == [0.1, 0.5, 0.9]
    assert figure.data[0].name == "<i>2</i>"
    assert figure.layout.title.text == "&lt;/script&gt;Title"


@pytest.mark.parametrize("content", ["", '<script type="application/json">{</script>'])
def test_a_page_without_a_figure_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "page.html").write_text(content)
    with pytest.raises(ValueError, match=r"page.html: "):
        read_figure(tmp_path / "page.html")


def test_an_svg_is_the_same_each_time_and_has_no_buttons(page: Path, tmp_path: Path) -> None:
    for name in ("first.svg", "again.svg"):
        export_image(page, tmp_path / name)
    text = (tmp_path / "first.svg").read_text(encoding="utf-8")
    assert text == (tmp_path / "again.svg").read_text(encoding="utf-8")
    root = ElementTree.fromstring(text)  # noqa: S314 - our own
    assert (root.get("width"), root.get("height")) == (str(WIDTH), str(HEIGHT))
    words = "".join(root.itertext())
    assert "</script>Title" in words
    assert "linear" not in words and "log" not in words


def test_a_png_has_more_pixels(page: Path, tmp_path: Path) -> None:
    export_image(page, tmp_path / "image.png")
    content = (tmp_path / "image.png").read_bytes()
    assert content.startswith(b"\x89PNG\r\n\x1a\n")
    size = int.from_bytes(content[16:20], "big"), int.from_bytes(content[20:24], "big")
    assert size == (PNG_SCALE * WIDTH, PNG_SCALE * HEIGHT)


def test_without_a_browser_one_line_says_what_to_install(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BROWSER_PATH", str(tmp_path / "nowhere"))
    with pytest.raises(
        RuntimeError, match=r"no Chromium or Chrome is here.*BROWSER_PATH"
    ) as raised:
        export_image(page, tmp_path / "image.svg")
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "image.svg").exists()
