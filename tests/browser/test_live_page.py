"""The live view in a browser: it follows the training by itself."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from gpt_math_domains.files import write_json
from gpt_math_domains.pages.watch import SECONDS, serve
from gpt_math_domains.study.layers import read_study
from metric_rows import evaluation

if TYPE_CHECKING:
    from tests.browser.conftest import Open

NAME = "pretrain data 1 model 2"
RUN = {"phase": "pretrain", "data": 1, "model": 2, "domain": None, "protocol": None}


def of_one_seed(number: int) -> dict[str, Any]:
    """Return an evaluation as a training of one seed tells it."""
    told = asdict(evaluation(100 * (number + 1), accuracy=[number / 10]))
    return {key: value[:1] if isinstance(value, list) else value for key, value in told.items()}


def tell(evaluations: int) -> None:
    """Leave what a training tells after so many evaluations."""
    told = {
        "run": RUN,
        "seeds": [0],
        "step": 100 * evaluations,
        "total_steps": 1000,
        "steps_per_second": 20.0,
        "time": time.time(),
        "evaluations": [of_one_seed(n) for n in range(evaluations)],
    }
    write_json(Path("out/pretrain/data_1/model_2/resume/progress.json"), told)


@pytest.fixture
def address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Where a study of one model is shown, which has done two evaluations."""
    monkeypatch.chdir(tmp_path)
    overlay = "pathvars: {results: out}\nrun: {data: [1], models: [2], domains: []}\n"
    Path("mine.yaml").write_text(overlay)
    tell(2)
    with serve(read_study(["mine.yaml"]), "mine", 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


def test_curve_and_progress_grow_without_a_reload(
    address: str, open_page: Open, screenshots: Path
) -> None:
    assert SECONDS < 30
    figure = "document.querySelector('#pretrain_1_eval_math_acc')"
    with open_page(address) as page:
        page.evaluate("window.untouched = true")
        assert page.get_by_label(NAME).get_attribute("value") == "0.2"
        assert page.evaluate(f"{figure}._fullData[0].x.length") == 2
        tell(7)
        page.wait_for_function(f"{figure}._fullData[0].x.length === 7")
        assert page.get_by_label(NAME).get_attribute("value") == "0.7"
        assert page.get_by_text("About 15 s left with one training at a time").is_visible()
        assert page.locator("td", has_text="15 s").count() == 1  # 300 steps are left
        page.screenshot(path=screenshots / "live.png")
        assert page.evaluate("window.untouched")


@pytest.mark.parametrize("width", [390, 1300])
def test_a_failed_run_and_those_that_wait_are_told_in_readable_lines(
    address: str, open_page: Open, screenshots: Path, width: int
) -> None:
    log = Path("out/logs/pretrain/data_1/model_2.log")
    log.parent.mkdir(parents=True)
    log.write_text("Traceback (most recent call last):\nOSError: no space left on device\n")
    with open_page(address, width) as page:
        page.screenshot(path=screenshots / f"live_failed_{width}.png")
        assert page.locator(".failed pre").inner_text().endswith("no space left on device")
        assert page.locator("td", has_text="failed").count() == 1
        upright = """cells => cells.filter(cell => cell.textContent && cell.clientWidth &&
            cell.clientHeight > 3 * cell.clientWidth).map(cell => cell.outerHTML)"""
        assert page.locator("th, td").evaluate_all(upright) == []
        [wide, window] = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        assert wide <= window
