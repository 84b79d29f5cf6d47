"""The page that tells how a study was made."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from gpt_math_domains.figures.drawing import write_figure
from gpt_math_domains.figures.rules import rule_graph
from gpt_math_domains.files import write_json
from gpt_math_domains.pages.made import write_made
from study_page import HOSTILE, RECORD, Outline, study
from training_job import SETTINGS


def write_page(
    directory: Path, study: dict[str, Any], records: Sequence[object] = (RECORD,)
) -> str:
    """Write the page of a study with a figure of two rules; return it."""
    files = [directory / f"run_{number}.json" for number in range(len(records))]
    for file, record in zip(files, records, strict=True):
        write_json(file, record)
    write_figure(rule_graph([("first", "second")], "Rules"), directory / "rules.html")
    write_made(files, [directory / "rules.html"], study, directory / "made.html")
    return (directory / "made.html").read_text(encoding="utf-8")


def test_the_page_has_an_outline_shows_its_figures_and_leads_back(tmp_path: Path) -> None:
    outline = Outline(write_page(tmp_path, study()))
    assert outline.open == []
    assert outline.landmarks == ["header", "nav", "main"]
    assert outline.headings == [
        ("h1", "GPT Math Domains: published"),
        ("h2", "Runs"),
        ("h2", "Rules"),
    ]
    assert outline.figures == {"rules": "first before second"}
    assert outline.links[1] == "index.html"
    own = (tmp_path / "rules.html").read_text()
    [anchor] = re.findall(r'<a href="../made.html#([^"]*)">', own)
    assert anchor in outline.ids


def test_it_tells_how_each_run_trains(tmp_path: Path) -> None:
    training = [run | SETTINGS | {"eval_steps": 1000} for run in study()["training"]]
    training[0]["num_train_epochs"] = 2000
    training[0]["max_grad_norm"], training[1]["max_grad_norm"] = None, 0.5
    page = write_page(tmp_path, study(training=training))
    tables, folds = Outline(page).tables, Outline(page).folds
    assert folds == [
        "How each run trains: 2 runs",
        "What each run was trained with and on: 1 run",
    ]
    assert tables["Training"] == [
        ["phase", "data", "model", "domain", "protocol", "num_train_epochs", "max_grad_norm"],
        ["pretrain", "1", "2", "", "", "2,000", "none"],
        ["finetune", "1", "2", "1", "full", "40", "0.5"],
    ]
    [together] = re.findall(r"The same in all of them:([^<]*batch_size[^<]*)<", page)
    assert " ".join(together.split()) == (
        "eval_steps 1,000; batch_size 16; learning_rate 0.005; weight_decay 0.1; "
        "gradient_accumulation_steps 1; num_warmup_steps 5; shuffle yes; "
        "checkpoints every 40."
    )


def test_the_provenance_of_each_run_is_told(tmp_path: Path) -> None:
    run = {"phase": "finetune", "data": 1, "model": 2, "domain": 1, "protocol": "full"}
    changed = {"run": run, "git": {"commit": "f" * 40, "dirty": True}}
    page = write_page(tmp_path, study(), records=[RECORD, RECORD | changed])
    [columns, *rows] = Outline(page).tables["Provenance"]
    assert dict(zip(columns, rows[0], strict=True)) == {
        "phase": "pretrain",
        "data": "1",
        "model": "2",
        "domain": "",
        "protocol": "",
        "commit": "ffffffffffff",
    }
    assert "device Processor; precision fp32; execution compiled; threads 1; python 3.11.7;" in page
    assert rows[1][:5] == ["finetune", "1", "2", "1", "full"]
    assert rows[1][-1] == "ffffffffffff and changes"


def test_a_run_outside_a_repository_has_no_commit(tmp_path: Path) -> None:
    page = write_page(tmp_path, study(), records=[RECORD | {"git": None}])
    assert "commit" not in Outline(page).tables["Provenance"][0]


def test_a_run_at_a_point_of_a_grid_is_told_with_it(tmp_path: Path) -> None:
    records = [RECORD, RECORD | {"point": "grid/pretrain.max_grad_norm~null/"}]
    [columns, *rows] = Outline(write_page(tmp_path, study(), records)).tables["Provenance"]
    place = columns.index("point")
    assert [row[place] for row in rows] == ["", "pretrain.max_grad_norm null"]


@pytest.mark.parametrize(
    "other",
    [
        {"device": HOSTILE},
        {"code": [HOSTILE]},
        {"execution": {HOSTILE: HOSTILE}},
        {"run": RECORD["run"] | {"protocol": HOSTILE}},
        {"versions": RECORD["versions"] | {"torch": HOSTILE}},
    ],
)
def test_hostile_text_in_a_record_stays_text(tmp_path: Path, other: dict[str, Any]) -> None:
    plain = write_page(tmp_path, study())
    page = write_page(tmp_path, study(), records=[RECORD | other])
    assert "<img" not in page
    assert page.count("<script") == plain.count("<script")
    assert "&lt;img src=x onerror=alert(2)&gt;" in page


@pytest.mark.parametrize(
    "other", [{"name": HOSTILE}, {"training": [{"phase": HOSTILE, "shuffle": HOSTILE}]}]
)
def test_hostile_text_in_the_study_stays_text(tmp_path: Path, other: dict[str, Any]) -> None:
    plain, page = write_page(tmp_path, study()), write_page(tmp_path, study(**other))
    assert "<img" not in page
    assert page.count("<script") == plain.count("<script")
    assert "&lt;img src=x onerror=alert(2)&gt;" in page


def test_the_page_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    assert not re.search("https?:|//[a-z]", write_page(tmp_path, study()))
