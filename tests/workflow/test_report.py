"""What `snakemake --report` makes of a finished study."""

import json
import re
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
import yaml

from gpt_math_domains.study.config import load_study
from study import Repository


@pytest.fixture(scope="module")
def report(finished: Repository, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of the smoke study, unpacked."""
    archive = tmp_path_factory.mktemp("report") / "report.zip"
    ran = finished.snakemake("--report", str(archive))
    assert ran.returncode == 0, ran.stdout
    with ZipFile(archive) as file:
        assert len(set(file.namelist())) == len(file.namelist())
        file.extractall(archive.parent)
    return archive.parent / "report"


def shown(report: Path) -> dict[str, dict[str, Any]]:
    """Return what the report lists, by the file's place in the results."""
    script = re.search(r"var results = (\{.*\});", (report / "report.html").read_text())
    assert script
    listed = json.loads(script[1])
    return {path.partition("/smoke/report/")[2]: entry for path, entry in listed.items()}


def test_the_report_has_every_figure_table_and_the_page_each_with_a_caption(
    report: Path, finished: Repository
) -> None:
    promised = {
        str(path.relative_to(finished.results))
        for pattern in ("*.html", "plots/*", "metrics/*")
        for path in finished.results.glob(pattern)
    }
    entries = shown(report)
    assert set(entries) == promised | {"config.yaml"}
    for name, entry in entries.items():
        assert re.sub(r"<[^>]*>|\s", "", entry["caption"]), name
        original = finished.results / name
        if original.exists():
            assert (report / entry["data_uri"]).read_bytes() == original.read_bytes(), name


def test_a_study_of_which_jobs_have_to_run_first_is_not_reported(
    finished: Repository, tmp_path: Path
) -> None:
    archive = tmp_path / "report.zip"
    other = {"pretrain": {"num_train_epochs": 3}}
    ran = finished.snakemake("--report", str(archive), config=other)
    assert ran.returncode != 0
    assert re.search(r"--report: \d+ jobs of this study have to run first", ran.stdout)
    assert not archive.exists()


def test_every_file_stands_where_the_links_of_the_others_lead(report: Path) -> None:
    entries = shown(report)
    pages = [report / entry["data_uri"] for name, entry in entries.items() if "html" in name]
    for page in pages:
        links = re.findall(r'(?:src|href)="([^"#:]+)"', page.read_text(encoding="utf-8"))
        assert links
        assert [link for link in links if not (page.parent / link).exists()] == []


def test_the_configuration_in_the_report_is_that_of_the_study_and_can_run_again(
    report: Path, finished: Repository
) -> None:
    configuration = report / shown(report)["config.yaml"]["data_uri"]
    used = yaml.safe_load(configuration.read_text(encoding="utf-8"))
    study = load_study(used)
    assert (study.run.data, study.run.models, study.run.seeds) == ([4, 5], [2, 4], [0, 1])
    again = finished.snakemake(
        *("--dry-run", "--configfile", str(configuration), "--replace-workflow-config"), smoke=False
    )
    assert again.returncode == 0, again.stdout
    assert "Nothing to be done" in again.stdout
