"""The study's page and every figure, looked at in a browser, from files and without a network."""

from __future__ import annotations

import shutil
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

from gpt_math_domains.results.metrics import read_metrics
from gpt_math_domains.run import ACCURACY
from study import Repository

if TYPE_CHECKING:
    from tests.browser.conftest import Open, Scheme

WIDTHS = {"phone": 390, "desktop": 1300}
SCHEMES: tuple[Scheme, ...] = ("light", "dark")
LOOKS = list(product(WIDTHS, SCHEMES))

# What plotly.js has drawn in a figure: its traces with all their points.
TRACES = """plot => plot._fullData.map(trace => ({
    name: trace.name, meta: trace.meta || {}, fill: trace.fill, dash: (trace.line || {}).dash,
    visible: trace.visible, axis: trace.yaxis, x: Array.from(trace.x || []),
    y: Array.from(trace.y || []), z: JSON.stringify(trace.z), color: (trace.line || {}).color,
}))"""


def pages(repository: Repository) -> list[Path]:
    """Return the study's pages and those of its figures."""
    found = [*sorted(repository.results.glob("*.html")), *repository.results.glob("plots/*.html")]
    assert len(found) > 12
    return found


def traces(page: Page, figure: str = "figure") -> list[dict[str, Any]]:
    """Return the traces of a figure."""
    found: list[dict[str, Any]] = page.locator(f"#{figure}").evaluate(TRACES)
    assert found
    return found


def points(trace: dict[str, Any]) -> tuple[Any, ...]:
    """Return what a trace shows; heatmaps may have z alone."""
    return trace["x"], trace["y"], trace.get("z")


def serious_faults(page: Page) -> list[str]:
    """Return what axe-core finds serious or critical."""
    found = Axe().run(page).response["violations"]
    return [
        f"{fault['id']}: {fault['help']}: {[node['html'][:200] for node in fault['nodes']]}"
        for fault in found
        if fault["impact"] in ("serious", "critical")
    ]


@pytest.mark.parametrize(("width", "scheme"), LOOKS)
def test_every_page_opens_without_a_fault_fits_the_screen_and_is_accessible(
    finished: Repository, open_page: Open, screenshots: Path, width: str, scheme: Scheme
) -> None:
    """Accessible is what axe-core finds no serious or critical fault in."""
    for path in pages(finished):
        with open_page(path, WIDTHS[width], scheme) as page:
            is_index = path.parent == finished.results
            picture = screenshots / f"{path.stem}_{width}_{scheme}.png"
            page.screenshot(path=picture, full_page=is_index)
            [wide, window] = page.evaluate(
                "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
            )
            assert wide <= window, path.name
            if is_index or width == "desktop":
                assert serious_faults(page) == [], path.name


def test_a_page_without_its_library_says_so_and_what_it_would_show(
    finished: Repository, open_page: Open, tmp_path: Path
) -> None:
    figure = "pretrain_4_eval_math_acc"
    alone = tmp_path / "index.html", tmp_path / f"{figure}.html"
    shutil.copy(finished.results / "index.html", alone[0])
    shutil.copy(finished.results / f"plots/{figure}.html", alone[1])
    for path in alone:
        with open_page(path, drawn="!window.Plotly", expected="ERR_FILE_NOT_FOUND") as page:
            place = page.locator(f"#{figure if path == alone[0] else 'figure'}")
            told = place.inner_text()
            assert "plotly.min.js is missing beside this page" in told
            assert "model 2" in told
            assert serious_faults(page) == []


def curves(repository: Repository, figure: str) -> tuple[pd.DataFrame, str]:
    """Return the metrics that a page of learning curves shows, and which of them."""
    versions, _, metric = figure.partition("_eval_")
    phase = versions.split("_")[0]
    runs = read_metrics(repository.results / f"metrics/{phase}.csv")
    runs = runs[runs["data"] == int(versions.split("_")[-1])]
    return runs, ACCURACY[phase] if metric.endswith("acc") else "eval_loss"


CURVES = [
    *(f"pretrain_{data}_eval_{metric}" for data in (4, 5) for metric in ("math_acc", "loss")),
    *(
        f"finetune_1_pretrain_{data}_eval_{metric}"
        for data in (4, 5)
        for metric in ("domain_acc", "loss")
    ),
]


@pytest.mark.parametrize("figure", CURVES)
def test_each_line_and_band_has_every_point_of_the_table(
    finished: Repository, open_page: Open, figure: str
) -> None:
    runs, metric = curves(finished, figure)
    with open_page(finished.results / f"plots/{figure}.html") as page:
        drawn = [trace for trace in traces(page) if "keys" in trace["meta"]]
    lines = {
        tuple(trace["meta"]["keys"]): trace
        for trace in drawn
        if not trace["fill"] or trace["fill"] == "none"
    }
    bands = {tuple(trace["meta"]["keys"]): trace for trace in drawn if trace["fill"] == "toself"}
    expected = runs.groupby([runs["protocol"].fillna(""), "model"])
    keys = {(f"protocol {protocol}", f"model {model}") for (protocol, model), _ in expected}
    assert set(lines) == set(bands) == keys
    for (protocol, model), run in expected:
        steps = run.groupby("step")[metric]
        line, band = (told[f"protocol {protocol}", f"model {model}"] for told in (lines, bands))
        assert line["x"] == steps.mean().index.tolist()
        assert line["y"] == pytest.approx(steps.mean().tolist())
        assert band["y"] == pytest.approx([*steps.max().tolist(), *steps.min().tolist()[::-1]])


def test_the_page_shows_the_same_points_as_the_figures_own_pages(
    finished: Repository, open_page: Open
) -> None:
    with open_page(finished.results / "index.html", unfolded=True) as page:
        names = page.locator(".plot").evaluate_all("plots => plots.map(plot => plot.id)")
        shown = {name: traces(page, name) for name in names}
    assert set(shown) >= {name for name in CURVES if name.endswith("acc")}
    for name, drawn in shown.items():
        with open_page(finished.results / f"plots/{name}.html") as page:
            assert [points(trace) for trace in drawn] == [points(trace) for trace in traces(page)]


def drawn_runs(page: Page) -> set[str]:
    """Return which lines or bands are drawn, by what switches them."""
    return {
        " ".join(trace["meta"]["keys"])
        for trace in traces(page)
        if "keys" in trace["meta"] and trace["visible"] is True
    }


def click(page: Page, entry: str) -> None:
    """Click on an entry of the legend, and wait for what it does."""
    before = page.evaluate("JSON.stringify(figure._fullData.map(trace => trace.visible))")
    page.get_by_role("button", name=f"Show or hide {entry}", exact=True).click()
    page.wait_for_function(
        "before => JSON.stringify(figure._fullData.map(trace => trace.visible)) !== before",
        arg=before,
    )


def test_one_click_in_the_legend_switches_a_protocol_with_all_models_or_a_model_in_all(
    finished: Repository, open_page: Open
) -> None:
    every = {f"protocol {p} model {m}" for p, m in product(("full", "scratch"), (2, 4))}
    with open_page(finished.results / "plots/finetune_1_pretrain_5_eval_domain_acc.html") as page:
        assert drawn_runs(page) == every  # full and scratch, where both ran
        click(page, "scratch")
        assert drawn_runs(page) == {name for name in every if "full" in name}
        click(page, "4")
        assert drawn_runs(page) == {"protocol full model 2"}
        click(page, "scratch")
        assert drawn_runs(page) == {name for name in every if "model 2" in name}
        click(page, "4")
        assert drawn_runs(page) == every


@pytest.mark.parametrize(
    ("figure", "table"),
    [
        ("pretrain_5_eval_math_acc", "data/5/baselines.csv"),
        ("finetune_1_pretrain_5_eval_domain_acc", "domains/1/data_5/baselines.csv"),
        ("finetune_1_pretrain_5_generalization", "domains/1/data_5/baselines.csv"),
    ],
)
def test_the_baseline_is_drawn_with_the_number_of_its_table(
    finished: Repository, open_page: Open, figure: str, table: str
) -> None:
    accuracy = float(pd.read_csv(finished.results / table)["accuracy"][0])
    with open_page(finished.results / f"plots/{figure}.html") as page:
        lines = [trace for trace in traces(page) if trace["name"] == f"baseline {accuracy:.3f}"]
    assert {tuple(line["y"]) for line in lines if line["visible"] is True} == {(accuracy, accuracy)}


@pytest.mark.parametrize("width", [390, 1440])
def test_the_first_screen_has_question_verdict_and_baseline(
    finished: Repository, open_page: Open, width: int
) -> None:
    with open_page(finished.results / "index.html", width) as page:
        for selector in ("h1", ".lead", ".verdict p:first-child", ".verdict p:nth-child(2)"):
            box = page.locator(selector).bounding_box()
            assert box is not None and box["y"] + box["height"] <= 900, selector
        baseline = page.locator(".verdict p:nth-child(2)").inner_text()
        assert "as most training equations have it gets" in baseline
        assert page.locator("#written time").inner_text().startswith("20")


@pytest.mark.parametrize("width", WIDTHS.values())
def test_no_table_is_cut_and_a_number_of_each_row_is_in_sight(
    finished: Repository, open_page: Open, width: int
) -> None:
    cut = """tables => tables.filter(table => table.parentElement.scrollHeight >
        table.parentElement.clientHeight + 20).map(table => table.caption.textContent)"""
    unseen = """tables => tables.flatMap(table => [...table.tBodies[0].rows]).filter(row =>
        ![...row.cells].some(cell => /^-?[0-9.]+/.test(cell.textContent) &&
        !cell.classList.contains("key") && cell.getBoundingClientRect().right <= innerWidth &&
        cell.getBoundingClientRect().left >= 0)).map(row => row.textContent)"""
    with open_page(finished.results / "index.html", width, unfolded=True) as page:
        tables = page.locator("#summary ~ div table, #protocols ~ div table")
        assert tables.count() > 2
        assert tables.evaluate_all(cut) == []
        assert tables.evaluate_all(unseen) == []


@pytest.mark.parametrize("width", WIDTHS.values())
def test_a_link_into_the_page_leads_to_its_place_while_figures_are_drawn(
    finished: Repository, open_page: Open, width: int
) -> None:
    address = (finished.results / "index.html").as_uri()
    top = "name => Math.abs(document.getElementById(name).getBoundingClientRect().top) < 40"
    for name in ("protocols", "figure-finetune_1_pretrain_5_labels", "figure-pretrain_5_norms"):
        with open_page(f"{address}#{name}", width) as page:
            page.wait_for_function(top, arg=name)


def test_the_choice_of_logarithmic_steps_is_that_of_all_figures_of_the_page(
    finished: Repository, open_page: Open
) -> None:
    with open_page(finished.results / "index.html") as page:
        page.locator("#pretrain_4_eval_math_acc .updatemenu-button", has_text="log").click()
        for name in ("pretrain_4_eval_math_acc", "finetune_1_pretrain_5_labels"):
            page.wait_for_function(f"{name}._fullLayout.xaxis.type === 'log'")
        page.locator("summary", has_text="Norms in pretraining").click()  # it is drawn now
        page.wait_for_function("(window.pretrain_5_norms._fullLayout || {}).xaxis?.type === 'log'")


def test_how_it_was_made_is_one_click_away_and_leads_back(
    finished: Repository, open_page: Open
) -> None:
    with open_page(finished.results / "index.html") as page:
        page.get_by_role("link", name="How it was made").first.click()
        page.wait_for_url("**/made.html")
        page.wait_for_function("document.querySelector('#timeline .main-svg')")
        page.get_by_role("link", name="The study").click()
        page.wait_for_url("**/index.html")


def test_a_page_of_a_figure_leads_back_to_it(finished: Repository, open_page: Open) -> None:
    with open_page(finished.results / "plots/pretrain_5_eval_loss.html") as page:
        page.get_by_role("link", name="The whole study").click()
        page.wait_for_url("**/index.html#figure-pretrain_5")
        page.wait_for_function("document.querySelector('#figure-pretrain_5 .main-svg')")


def test_a_legend_stands_below_a_narrow_plot_and_beside_a_wide_one(
    finished: Repository, open_page: Open
) -> None:
    bottom = "document.querySelector('.gridlayer').getBoundingClientRect().bottom"
    right = bottom.replace("bottom", "right")
    legend = "document.querySelector('.legend').getBoundingClientRect()"
    with open_page(finished.results / "index.html", width=390) as page:
        page.wait_for_function(f"{legend}.top > {bottom}")
        assert page.evaluate(f"{legend}.right") <= 390
        page.set_viewport_size({"width": 1300, "height": 900})
        page.wait_for_function(f"{legend}.left > {right} && {legend}.top < {bottom}")
        page.set_viewport_size({"width": 390, "height": 900})
        page.wait_for_function(f"{legend}.top > {bottom}")


def test_the_log_button_makes_the_steps_logarithmic(finished: Repository, open_page: Open) -> None:
    with open_page(finished.results / "plots/pretrain_5_eval_math_acc.html") as page:
        assert page.evaluate("figure._fullLayout.xaxis.type") == "linear"
        page.locator(".updatemenu-button", has_text="log").click()
        page.wait_for_function("figure._fullLayout.xaxis.type === 'log'")
        page.locator(".updatemenu-button", has_text="linear").click()
        page.wait_for_function("figure._fullLayout.xaxis.type === 'linear'")


def test_the_legend_can_be_reached_and_used_with_the_keyboard(
    finished: Repository, open_page: Open
) -> None:
    with open_page(finished.results / "plots/finetune_1_pretrain_5_eval_domain_acc.html") as page:
        for _ in range(30):
            page.keyboard.press("Tab")
            name = page.evaluate("document.activeElement.getAttribute('aria-label')")
            if name == "Show or hide full":
                break
        assert name == "Show or hide full"
        page.keyboard.press("Enter")
        page.wait_for_function("figure._fullData[0].visible === false")
        page.wait_for_function(
            "document.activeElement.getAttribute('aria-label') === 'Show or hide full'"
        )
        page.keyboard.press("Space")
        page.wait_for_function("figure._fullData[0].visible === true")


def test_a_figure_follows_when_the_system_turns_dark(finished: Repository, open_page: Open) -> None:
    """Black lines on white paper become white ones on black, and the legend stays as it was."""
    with open_page(finished.results / "plots/finetune_1_pretrain_5_eval_domain_acc.html") as page:
        click(page, "full")
        page.emulate_media(color_scheme="dark")
        page.wait_for_function("figure._fullLayout.paper_bgcolor === '#181818'")
        assert page.evaluate("figure._fullLayout.font.color") == "#dddddd"
        assert not any("full" in name for name in drawn_runs(page))
        page.emulate_media(color_scheme="light")
        page.wait_for_function("figure._fullLayout.font.color === '#222222'")


def test_a_printed_page_has_every_figure_on_white_paper(
    finished: Repository, open_page: Open, screenshots: Path
) -> None:
    with open_page(finished.results / "index.html", scheme="dark") as page:
        page.evaluate(
            "addEventListener('beforeprint', () => { window.printed ="
            " [...document.querySelectorAll('.plot')].map(p => [p._fullLayout.paper_bgcolor,"
            " p.querySelector('.main-svg').getBoundingClientRect().width]) })"
        )
        page.emulate_media(media="print")
        page.pdf(path=screenshots / "index.pdf", format="A4")
        printed = page.evaluate("window.printed")
    assert len(printed) >= 4
    assert {paper for paper, _ in printed} == {"#fff"}
    assert max(width for _, width in printed) <= 680  # what is wider is cut off on A4
