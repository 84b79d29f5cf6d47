"""A finished smoke study, and Debian's Chromium to look at it."""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, sync_playwright

from study import Repository, copy_of_this_repository

CHROMIUM = "/usr/bin/chromium"
# Debian's Chromium as root, without a graphics card, and without asking Google for anything.
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
Scheme = Literal["light", "dark"]
Open = Callable[..., AbstractContextManager[Page]]

# All figures that the page has, drawn; those in folds wait until they are opened.
DRAWN = (
    "[...document.querySelectorAll('.plot')].every("
    "plot => plot.offsetParent === null || plot.querySelector('.main-svg'))"
)
UNFOLD = "document.querySelectorAll('details').forEach(fold => { fold.open = true })"


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """A repository in which the smoke study has run. Not to be changed."""
    repository = copy_of_this_repository(tmp_path_factory.mktemp("finished") / "repository")
    ran = repository.snakemake("--cores", "2")
    assert ran.returncode == 0, ran.stdout
    return repository


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser: Browser) -> Open:
    """A function that opens an address, and afterwards demands that nothing went wrong there.

    That is: no error or warning on the console, no exception, no failed request, and no request to
    anywhere but files and this machine.
    """

    @contextmanager
    def opened(
        address: str | Path,
        width: int = 1300,
        scheme: Scheme = "light",
        drawn: str = DRAWN,
        expected: str | None = None,
        unfolded: bool = False,
    ) -> Iterator[Page]:
        context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, reduced_motion="reduce"
        )
        page = context.new_page()
        faults: list[str] = []

        def note(fault: str) -> None:
            if expected is None or expected not in fault:
                faults.append(fault)

        def hear(said: ConsoleMessage) -> None:
            if said.type in ("error", "warning"):
                note(said.text)

        def see(request: Request) -> None:
            if not re.match("file:|data:|blob:|http://127.0.0.1:", request.url):
                faults.append(f"asks for {request.url}")

        page.on("console", hear)
        page.on("request", see)
        page.on("requestfailed", lambda request: note(f"{request.url}: {request.failure}"))
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.goto(address.as_uri() if isinstance(address, Path) else address)
        if unfolded:
            page.evaluate(UNFOLD)
        page.wait_for_function(drawn)
        yield page
        context.close()
        assert faults == []

    return opened


@pytest.fixture(scope="session")
def screenshots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where pictures go, for people to look at: `$SCREENSHOTS`, if it is set."""
    named = os.environ.get("SCREENSHOTS")
    directory = Path(named) if named else tmp_path_factory.mktemp("screenshots")
    directory.mkdir(parents=True, exist_ok=True)
    return directory
