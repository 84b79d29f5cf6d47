"""How long the page of a large study takes to make, and to open.

Run `python benchmarks/page.py`; it needs Chromium in /usr/bin. It makes up the metrics of 200 runs
with 200 evaluations and 3 seeds (10 data versions and 4 models, pretrained, and finetuned with 4
protocols), and writes `benchmarks/results/page.csv`:

* `render_all`: from the runs' tables to `index.html`, in one process: collecting, the summary, the
  20 figures on the page, and the page; `render_page`: the last of these;
* `open`: from the address to the load event, with the figures in the window drawn;
* `draw_all`: until the figures below the window are drawn too, in the background.

`seconds` is wall time, the median of 3; `cpu_seconds` that of this process, for rendering.
"""

import csv
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "workflow" / "scripts"))

from gpt_math_domains.curves import learning_curves  # noqa: E402
from gpt_math_domains.drawing import write_figure  # noqa: E402
from gpt_math_domains.figures import copy_plotly  # noqa: E402
from gpt_math_domains.files import atomic_write, write_json  # noqa: E402
from gpt_math_domains.metrics import (  # noqa: E402
    ACCURACY,
    collect_metrics,
    columns,
    dtypes,
    read_runs,
    write_table,
)
from gpt_math_domains.page import write_index  # noqa: E402
from gpt_math_domains.provenance import cpu_name  # noqa: E402
from gpt_math_domains.summary import summarize_metrics  # noqa: E402

DATA, MODELS, SEEDS, EVALUATIONS = range(1, 11), range(2, 6), 3, 200
PROTOCOLS = ("full", "frozen", "scratch", "random_frozen")
COLORS = ["#00BBBB", "#FF4444", "#00BBFF", "#888888"]
TIMES = 3
CHROMIUM = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
DRAWN = "plots => plots.every(plot => plot.querySelector('.main-svg'))"


def main() -> None:
    """Measure, print the figures and write them down."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        tables = make_up(directory)
        rows = [
            measured("render_all", lambda: render_all(directory, tables)),
            measured("render_page", lambda: render_page(directory)),
        ]
        rows += opened(directory / "index.html")
        size = (directory / "index.html").stat().st_size / 1e6
    known = {"runs": 200, "page_mb": round(size, 1), "processor": cpu_name()}
    with atomic_write(ROOT / "benchmarks" / "results" / "page.csv") as handle:
        writer = csv.DictWriter(handle, list(rows[0] | known), lineterminator="\n")
        writer.writeheader()
        writer.writerows(row | known for row in rows)
    for row in rows:
        print(row)


def make_up(directory: Path) -> dict[str, list[Path]]:
    """Write the metrics of all runs, and a record of each; return the tables by phase."""
    tables: dict[str, list[Path]] = {"pretrain": [], "finetune": []}
    random = np.random.default_rng(0)
    for phase, protocol in [("pretrain", None), *(("finetune", name) for name in PROTOCOLS)]:
        for data in DATA:
            for model in MODELS:
                run = {"phase": phase, "data": data, "model": model}
                run |= {"domain": 1 if protocol else None, "protocol": protocol}
                path = directory / "runs" / f"{phase}_{data}_{model}_{protocol}.csv"
                write_table(curves(run, random), path)
                record: dict[str, Any] = {key: "made up" for key in ("device", "precision", "code")}
                record |= {"execution": "eager", "threads": 1, "git": None, "run": run}
                versions = {"python": "3", "torch": "2", "numpy": "2"}
                write_json(path.with_suffix(".json"), record | {"versions": versions})
                tables[phase].append(path)
    return tables


def curves(run: dict[str, Any], random: np.random.Generator) -> pd.DataFrame:
    """Return metrics that rise as those of a training do, with noise."""
    step = np.tile(np.arange(1, EVALUATIONS + 1) * 1000, SEEDS)
    accuracy = np.clip(1 - np.exp(-step / 4e4) + random.normal(0, 0.01, len(step)), 0, 1)
    losses = {"train_loss": 2 - accuracy, "eval_loss": 2.1 - accuracy}
    frame = pd.DataFrame(
        run
        | {"seed": np.repeat(np.arange(SEEDS), EVALUATIONS), "step": step, "epoch": step / 41}
        | {"learning_rate": 5e-4, "seconds": step / 100, ACCURACY[run["phase"]]: accuracy}
        | losses,
    )
    names = columns(run["phase"])
    return frame[names].astype(dtypes(names))


def render_all(directory: Path, tables: dict[str, list[Path]]) -> None:
    """Make everything that the page needs, and the page."""
    copy_plotly(directory / "plots" / "plotly.min.js")
    for phase, paths in tables.items():
        collect_metrics(paths, phase, directory / f"{phase}.csv")
        runs, metric = read_runs(paths, phase), ACCURACY[phase]
        for data in DATA:
            figure = learning_curves(runs[runs["data"] == data], metric, COLORS, f"Data {data}")
            write_figure(figure, directory / "plots" / f"{phase}_{data:02}_eval_{metric}.html")
    summarize_metrics(
        directory / "pretrain.csv", directory / "finetune.csv", directory / "summary.csv"
    )
    render_page(directory)


def render_page(directory: Path) -> None:
    """Make the page alone."""
    versions: dict[str, Any] = {
        "models": {model: {"num_layers": 1, "num_heads": 8, "d_model": 128} for model in MODELS},
        "data": {data: {"digits": 10, "modulo": 5} for data in DATA},
        "domains": {1: {"labels": ["first_odd"]}},
    }
    runs = [
        {"phase": "pretrain", "data": data, "model": model} for data in DATA for model in MODELS
    ]
    write_index(
        directory / "pretrain.csv",
        directory / "finetune.csv",
        directory / "summary.csv",
        sorted(directory.glob("runs/*.json")),
        {phase: sorted(directory.glob(f"plots/{phase}_*.html")) for phase in ACCURACY},
        versions | {"seeds": list(range(SEEDS)), "training": runs},
        directory / "index.html",
    )


def measured(what: str, do: Callable[[], None]) -> dict[str, Any]:
    """Return how long something takes."""
    wall, cpu = [], []
    for _ in range(TIMES):
        began = time.perf_counter(), time.process_time()
        do()
        wall.append(time.perf_counter() - began[0])
        cpu.append(time.process_time() - began[1])
    seconds, cpu_seconds = (round(statistics.median(times), 2) for times in (wall, cpu))
    return {"what": what, "seconds": seconds, "cpu_seconds": cpu_seconds}


def opened(page: Path) -> list[dict[str, Any]]:
    """Return how long the page takes to open in Chromium, and to draw all of its figures."""
    times: dict[str, list[float]] = {"open": [], "draw_all": []}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=CHROMIUM)
        for _ in range(TIMES):
            tab = browser.new_page(viewport={"width": 1300, "height": 900})
            began = time.perf_counter()
            tab.goto(page.as_uri())
            times["open"].append(time.perf_counter() - began)
            tab.wait_for_function(f"({DRAWN})([...document.querySelectorAll('.plot')])")
            times["draw_all"].append(time.perf_counter() - began)
            tab.close()
        browser.close()
    return [
        {"what": what, "seconds": round(statistics.median(seconds), 2), "cpu_seconds": ""}
        for what, seconds in times.items()
    ]


if __name__ == "__main__":
    main()
