"""Snakemake's report, unpacked and clicked through."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from zipfile import ZipFile

import pytest

from study import Repository

if TYPE_CHECKING:
    from tests.browser.conftest import Open

# Its own, of the library that styles it; no fault of what it shows.
REPORT_WARNING = "cdn.tailwindcss.com should not be used in production"


@pytest.fixture(scope="module")
def report(finished: Repository, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of the smoke study, unpacked far from the study."""
    archive = tmp_path_factory.mktemp("report") / "report.zip"
    ran = finished.snakemake("--report", str(archive))
    assert ran.returncode == 0, ran.stdout
    with ZipFile(archive) as file:
        file.extractall(archive.parent)
    return archive.parent / "report" / "report.html"


def test_every_figure_of_the_report_can_be_viewed_and_has_a_caption(
    finished: Repository, report: Path, open_page: Open, screenshots: Path
) -> None:
    names = [path.name for path in sorted(finished.results.glob("plots/*.html"))]
    with open_page(
        report,
        drawn="typeof app === 'object' && document.querySelector('nav, #app *')",
        expected=REPORT_WARNING,
    ) as page:
        results = page.evaluate("results")
        listed = {Path(path).name: (path, entry) for path, entry in results.items()}
        assert set(names) <= set(listed)
        for name in [*names, "index.html"]:
            path, entry = listed[name]
            assert entry["caption"].strip()
            page.evaluate(
                "([path, uri]) => app.setView({content: 'html', contentPath: uri,"
                " resultPath: path})",
                [path, entry["data_uri"]],
            )
            plot = page.frame_locator("iframe").locator(".plot .main-svg").first
            plot.wait_for()
            assert page.frames[-1].url.endswith(name)
        page.screenshot(path=screenshots / "report.png")
