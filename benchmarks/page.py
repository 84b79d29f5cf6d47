"""How long the page of a large study takes to make, and to open.

Run `python benchmarks/page.py`; it needs Chromium in /usr/bin. It makes up the tables of 200 runs
with 200 evaluations and 3 seeds (10 data versions and 4 models, pretrained, and finetuned with 4
protocols), and writes `benchmarks/results/page.csv`:

* `collect`: the runs' metrics into the tables of the study;
* `draw`: the 152 pages of figures, in one process, where Snakemake runs them side by side;
* `render_page`: `index.html`, which shows 112 of these figures;
* `open`: from the address to the load event, with the figures in the window drawn;
* `draw_all`: until the figures below the window are drawn too, in the background; those in folds
  are not.

`seconds` is wall time, the median of 3; `cpu_seconds` that of this process, for the first three.
"""

import csv
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "workflow" / "scripts"))

from gpt_math_domains.data.equations import generate_equations
from gpt_math_domains.data.families import families_of, parts_of
from gpt_math_domains.data.labels import label_domains
from gpt_math_domains.data.settings import DataSettings
from gpt_math_domains.data.tables import read_equations
from gpt_math_domains.data.vocabulary import read_vocabulary
from gpt_math_domains.figures.answers import plot_answers
from gpt_math_domains.figures.curves import plot_curves
from gpt_math_domains.figures.families import plot_families
from gpt_math_domains.figures.generalization import plot_generalization
from gpt_math_domains.figures.labels import plot_labels
from gpt_math_domains.figures.library import copy_plotly
from gpt_math_domains.figures.norms import plot_norms
from gpt_math_domains.figures.scale import plot_scale
from gpt_math_domains.figures.transfer import plot_transfer
from gpt_math_domains.files import atomic_write, write_json
from gpt_math_domains.jobs.record import cpu_name
from gpt_math_domains.pages.index import write_index
from gpt_math_domains.results.answers import SPLITS, describe_equations, write_answers
from gpt_math_domains.results.baselines import compute_baselines
from gpt_math_domains.results.metrics import collect_metrics, columns, write_parts
from gpt_math_domains.results.summary import summarize_metrics
from gpt_math_domains.results.tables import typed, write_table
from gpt_math_domains.run import ACCURACY, measures

DATA, MODELS, SEEDS, EVALUATIONS = range(1, 11), range(2, 6), 3, 200
PROTOCOLS = ("full", "frozen", "scratch", "random_frozen")
LABELS = ("first_odd", "first_even", "both_odd", "both_even", "has_zero", "no_zero")
SIZE = {"num_layers": 1, "num_heads": 8, "d_model": 128}
COLORS = ["#00BBBB", "#FF4444", "#00BBFF", "#888888"]
RUNS: list[dict[str, Any]] = [
    {"phase": phase, "data": data, "model": model, "domain": domain, "protocol": protocol}
    for phase, domain, protocol in [
        ("pretrain", None, None),
        *(("finetune", 1, protocol) for protocol in PROTOCOLS),
    ]
    for data in DATA
    for model in MODELS
]
TIMES = 3
CHROMIUM = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
DRAWN = "plots => plots.every(p => p.offsetParent === null || p.querySelector('.main-svg'))"


def main() -> None:
    """Measure, print the figures and write them down."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        make_up(directory)
        parts = {"collect": collect, "draw": draw, "render_page": render_page}
        rows = [measured(what, partial(part, directory)) for what, part in parts.items()]
        rows += opened(directory / "index.html")
        size = (directory / "index.html").stat().st_size / 1e6
    known = {"runs": len(RUNS), "page_mb": round(size, 1), "processor": cpu_name()}
    with atomic_write(ROOT / "benchmarks" / "results" / "page.csv") as handle:
        writer = csv.DictWriter(handle, list(rows[0] | known), lineterminator="\n")
        writer.writeheader()
        writer.writerows(row | known for row in rows)
    for row in rows:
        print(row)


def make_up(directory: Path) -> None:
    """Write a data version, and of each run its tables and its record."""
    copy_plotly(directory / "plots" / "plotly.min.js")
    generate_equations(
        DataSettings(10, 5),
        train=directory / "train.csv",
        valid=directory / "valid.csv",
        vocabulary=directory / "vocabulary.json",
        manifest=directory / "manifest.json",
    )
    make_up_baselines(directory)
    vocabulary = read_vocabulary(directory / "vocabulary.json")
    asked = {
        split: parts_of(read_equations(directory / f"{split}.csv"), vocabulary) for split in SPLITS
    }
    equations = {split: describe_equations(parts) for split, parts in asked.items()}
    families, _ = families_of(asked["valid"])
    parts: dict[str, tuple[str, list[dict[str, Any]]]] = {
        "pretrain": ("families.csv", families),
        "finetune": ("labels.csv", [{"label": label} for label in LABELS]),
    }
    versions = {"python": "3", "torch": "2", "numpy": "2"}
    record = dict.fromkeys(("device", "precision", "code", "execution"), "made up")
    random = np.random.default_rng(0)
    for run in RUNS:
        write_table(curves(run, random), path_of(directory, run, "metrics.csv"))
        if run["phase"] == "pretrain":
            table = answers(run, equations, random)
            write_answers(table, path_of(directory, run, "answers.csv"))
        name, told_apart = parts[run["phase"]]
        rows = part_accuracies(run, told_apart, random)
        write_parts(rows, run["phase"], path_of(directory, run, name))
        told = record | {"threads": 1, "git": None, "run": run, "versions": versions}
        write_json(path_of(directory, run, "run.json"), told)


def make_up_baselines(directory: Path) -> None:
    """Write the labels of the data version, and the baselines as if there were many of it."""
    files = {name: directory / f"{name}.csv" for name in SPLITS}
    files |= {name: directory / f"{name}.json" for name in ("vocabulary", "manifest")}
    labelled = {f"labelled_{name}": directory / f"labelled_{name}.csv" for name in SPLITS}
    labelled["labelled_manifest"] = directory / "labelled_manifest.json"
    label_domains(LABELS, **files, **labelled)
    for data in DATA:
        compute_baselines(
            files["train"],
            files["valid"],
            data,
            baselines_of(directory, "pretrain", data),
            vocabulary=files["vocabulary"],
            manifest=files["manifest"],
        )
        output = baselines_of(directory, "finetune", data)
        compute_baselines(
            labelled["labelled_train"], labelled["labelled_valid"], data, output, domain=1
        )


def baselines_of(directory: Path, phase: str, data: int) -> Path:
    """Return where the baselines of a data version are."""
    return directory / "baselines" / f"{phase}_{data}.csv"


def curves(run: Mapping[str, Any], random: np.random.Generator) -> pd.DataFrame:
    """Return metrics that rise as those of a training do, with noise."""
    step = np.tile(np.arange(1, EVALUATIONS + 1) * 1000, SEEDS)
    accuracy = rising(step, random)
    losses = {"train_loss": 2 - accuracy, "eval_loss": 2.1 - accuracy}
    frame = pd.DataFrame(
        dict(run)
        | {"seed": np.repeat(np.arange(SEEDS), EVALUATIONS), "step": step, "epoch": step / 41}
        | {"learning_rate": 5e-4, "seconds": step / 100}
        | dict.fromkeys(measures(run["phase"]), accuracy)
        | losses,
    )
    return typed(frame, columns(run["phase"]))


def rising(step: Any, random: np.random.Generator, parts: int | None = None) -> Any:
    """Return accuracies that rise with the steps, with noise; of a step, one for each part."""
    noise = random.normal(0, 0.01, parts or len(step))
    return np.clip(1 - np.exp(-step / 4e4) + noise, 0, 1)


def answers(
    run: Mapping[str, Any], equations: Mapping[str, pd.DataFrame], random: np.random.Generator
) -> pd.DataFrame:
    """Return answers of which four in five are right."""
    frames = [
        asked.assign(data=run["data"], model=run["model"], seed=seed, split=split)
        for seed in range(SEEDS)
        for split, asked in equations.items()
    ]
    table = pd.concat(frames, ignore_index=True)
    right = random.random(len(table)) < 0.8
    return table.assign(right=right, answer="", probability=0.8)


def part_accuracies(
    run: Mapping[str, Any], parts: Sequence[Mapping[Any, Any]], random: np.random.Generator
) -> list[dict[str, Any]]:
    """Return the accuracies of each label, or family, at each evaluation."""
    return [
        {**run, "seed": seed, "step": step, **part, "accuracy": accuracy}
        for seed in range(SEEDS)
        for step in range(1000, 1000 * EVALUATIONS + 1, 1000)
        for part, accuracy in zip(parts, rising(step, random, len(parts)), strict=True)
    ]


def path_of(directory: Path, run: Mapping[str, Any], name: str) -> Path:
    """Return where a file of a run is."""
    return directory / "runs" / "_".join(map(str, run.values())) / name


def paths(directory: Path, name: str, **keys: object) -> list[Path]:
    """Return where the files are of all runs that have some keys."""
    return [path_of(directory, run, name) for run in RUNS if keys.items() <= run.items()]


def page_of(directory: Path, phase: str, kind: str, data: int = 0) -> Path:
    """Return the page of a figure."""
    return directory / "plots" / f"{phase}_{data:02}_{kind}.html"


def collect(directory: Path) -> None:
    """Make the tables of the study."""
    tables = {phase: directory / f"{phase}.csv" for phase in ACCURACY}
    for phase, table in tables.items():
        collect_metrics(paths(directory, "metrics.csv", phase=phase), phase, table)
    baselines = [baselines_of(directory, phase, data) for phase in ACCURACY for data in DATA]
    output = directory / "summary.csv"
    summarize_metrics(tables["pretrain"], tables["finetune"], baselines, output)


def draw(directory: Path) -> None:
    """Make the pages of all figures."""

    def pages(phase: str, data: int, *kinds: str) -> dict[str, Any]:
        return {kind: page_of(directory, phase, kind, data) for kind in kinds}

    curve_kinds = ("overview", "accuracy", "loss")
    for data in DATA:
        for phase, domain in (("pretrain", None), ("finetune", 1)):
            metrics = paths(directory, "metrics.csv", phase=phase, data=data)
            known = baselines_of(directory, phase, data)
            three = pages(phase, data, *curve_kinds)
            plot_curves(metrics, data, COLORS, baselines=known, domain=domain, **three)
            page = page_of(directory, phase, "generalization", data)
            plot_generalization(metrics, data, COLORS, page, baselines=known, domain=domain)
            page = page_of(directory, phase, "norms", data)
            plot_norms(metrics, data, COLORS, page, domain=domain)
        plot_transfer(metrics, 1, data, COLORS, page_of(directory, "finetune", "transfer", data))
        answered = paths(directory, "answers.csv", phase="pretrain", data=data)
        known = baselines_of(directory, "pretrain", data)
        two = pages("pretrain", data, "operations", "operands")
        plot_answers(answered, data, baselines=known, **two)
        families = paths(directory, "families.csv", phase="pretrain", data=data)
        page = page_of(directory, "pretrain", "families", data)
        plot_families(families, data, page, baselines=known)
        labels = paths(directory, "labels.csv", phase="finetune", data=data)
        page = page_of(directory, "finetune", "labels", data)
        plot_labels(labels, 1, data, page, baselines=baselines_of(directory, "finetune", data))
    for phase in ACCURACY:
        runs = [run | {"num_train_epochs": 1000} for run in RUNS if run["phase"] == phase]
        plot_scale(
            directory / "summary.csv",
            [directory / "manifest.json"] * len(DATA),
            phase,
            {"data": DATA, "models": dict.fromkeys(MODELS, SIZE)}
            | {"labels": {1: len(LABELS)}, "epochs": runs},
            page_of(directory, phase, "scale"),
            domain=1 if phase == "finetune" else None,
        )


def render_page(directory: Path) -> None:
    """Make the study's page."""
    sections = {
        **{phase: (f"{phase}_*_accuracy",) for phase in ACCURACY},
        **{
            f"{phase}_{kind}": (f"{phase}_*_{kind}",)
            for phase in ACCURACY
            for kind in ("generalization", "norms")
        },
        **{
            kind: (f"*_{kind}",)
            for kind in ("operations", "operands", "families", "labels", "transfer", "scale")
        },
    }
    study: dict[str, Any] = {
        "models": dict.fromkeys(MODELS, SIZE),
        "data": {data: {"digits": 10, "modulo": 5} for data in DATA},
        "domains": {1: {"labels": LABELS}},
        "protocols": PROTOCOLS,
        "seeds": list(range(SEEDS)),
        "pretrain_seeds": None,
        "training": RUNS,
    }
    write_index(
        directory / "pretrain.csv",
        directory / "finetune.csv",
        directory / "summary.csv",
        [directory / "manifest.json"] * len(DATA),
        paths(directory, "run.json"),
        {
            section: [p for name in names for p in sorted(directory.glob(f"plots/{name}.html"))]
            for section, names in sections.items()
        },
        study,
        directory / "index.html",
        [directory / "train.csv"],
        [directory / "labelled_train.csv"],
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
