"""Pages of what is inside models, in a browser: they open, and their menus show what they name."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

from study import Repository, copy_of_this_repository

if TYPE_CHECKING:
    from tests.browser.conftest import Open, Scheme

STUDY = {
    "run": {"data": [5], "models": [2], "domains": [1], "protocols": ["full"]},
    "pretrain": {"checkpoints": "log"},
    "interpretability": {"equations": {5: ["3 + 4 =(m) 3 1", "1 - 3 = - 2", "4 / 2 = 2"]}},
}
WIDTHS = {"phone": 390, "desktop": 1300}
SCHEMES: tuple[Scheme, ...] = ("light", "dark")
# The weights that are seen, and the symbols at their sides.
SHOWN = """plot => {
    const trace = plot._fullData.find(trace => trace.visible === true);
    const { xaxis, yaxis } = plot._fullLayout;
    return { z: Array.from(trace.z, row => Array.from(row)),
             x: [xaxis.tickvals, xaxis.ticktext], y: [yaxis.tickvals, yaxis.ticktext] };
}"""


@pytest.fixture(scope="module")
def looked_into(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """A repository in which a study was looked into. Not to be changed."""
    repository = copy_of_this_repository(tmp_path_factory.mktemp("inside") / "repository")
    ran = repository.snakemake("interpretability", "--cores", "2", config=STUDY)
    assert ran.returncode == 0, ran.stdout
    return repository


@pytest.mark.parametrize(("width", "scheme"), list(product(WIDTHS, SCHEMES)))
def test_every_page_opens_without_a_fault_fits_the_screen_and_is_accessible(
    looked_into: Repository, open_page: Open, screenshots: Path, width: str, scheme: Scheme
) -> None:
    pages = sorted(looked_into.results.glob("plots/*.html"))
    assert len(pages) == 5
    for path in pages:
        with open_page(path, WIDTHS[width], scheme) as page:
            page.screenshot(path=screenshots / f"{path.stem}_{width}_{scheme}.png")
            [wide, window] = page.evaluate(
                "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
            )
            assert wide <= window, path.name
            if width == "desktop":
                found = Axe().run(page).response["violations"]
                grave = [fault for fault in found if fault["impact"] in ("serious", "critical")]
                assert grave == [], path.name


def choose(page: Page, menu: int, entry: str) -> None:
    """Open one of a figure's menus and take an entry."""
    page.locator(".updatemenu-header").nth(menu).click()
    page.locator(".updatemenu-dropdown-button", has_text=entry).click()


def test_the_attention_of_the_chosen_equation_and_seed_is_seen(
    looked_into: Repository, open_page: Open
) -> None:
    table = pd.read_csv(looked_into.results / "pretrain/data_5/model_2/inside/attention.csv")
    side = 7  # of the longest equation, and the gap after it
    with open_page(looked_into.results / "plots/pretrain_5_model_2_attention.html") as page:
        for equation, seed in (("1 - 3 = - 2", 1), ("4 / 2 = 2", 1), ("3 + 4 =(m) 3 1", 0)):
            choose(page, 0, equation)
            choose(page, 1, f"seed {seed}")
            seen: dict[str, Any] = page.locator("#figure").evaluate(SHOWN)
            symbols = {axis: dict(zip(*seen[axis], strict=True)) for axis in ("x", "y")}
            rows = table[(table["equation"] == equation) & (table["seed"] == seed)]
            assert len(rows) == sum(value is not None for row in seen["z"] for value in row)
            for row in rows.to_dict("records"):
                place = side * (row["layer"] - 1) + row["query"], side * row["head"] + row["key"]
                assert seen["z"][place[0]][place[1]] == pytest.approx(row["weight"], abs=1e-4)
                assert symbols["y"][place[0]] == row["query_symbol"]
                assert symbols["x"][place[1]] == row["key_symbol"]


def test_the_digits_of_the_chosen_seed_are_seen_with_its_shares(
    looked_into: Repository, open_page: Open
) -> None:
    table = pd.read_csv(looked_into.results / "pretrain/data_5/model_2/inside/components.csv")
    first = table[(table["seed"] == 1) & (table["component"] == 1)]
    with open_page(looked_into.results / "plots/pretrain_5_embedding.html") as page:
        choose(page, 0, "seed 1")
        [xs, title] = page.locator("#figure").evaluate(
            "plot => [Array.from(plot._fullData.find(t => t.visible === true && t.text).x), "
            "plot._fullLayout.xaxis.title.text]"
        )
    assert xs == pytest.approx(first["coordinate"].tolist())
    assert title == f"component 1: {first['share'].iloc[0]:.0%}"
