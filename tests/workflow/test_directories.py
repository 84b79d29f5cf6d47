"""The workflow runs in any directory, and leaves the clone that it is from alone."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from study import ROOT, SMOKE, Repository, listed_jobs
from training_job import outputs

RUN = "pretrain/data_4/model_2"
# The smoke study's smallest part.
CONFIG = yaml.safe_load((ROOT / SMOKE).read_text())
CONFIG["run"] |= {"data": [4], "models": [2], "protocols": ["full"]}
ELSEWHERE = ("--snakefile", "clone/Snakefile", "--directory", "elsewhere")


@pytest.fixture
def beside(untouched: Repository, tmp_path: Path) -> Iterator[Repository]:
    """A directory in which a clone lies."""
    directory = tmp_path / "beside"
    untouched.copy_to(directory / "clone")
    yield Repository(directory)
    shutil.rmtree(tmp_path)


def files(directory: Path) -> set[str]:
    """Return the files that lie in a directory, Python's caches aside."""
    found = (str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file())
    return {name for name in found if "__pycache__" not in name}


def test_the_study_runs_in_another_directory_and_leaves_the_clone_alone(
    beside: Repository, finished: Repository
) -> None:
    before = files(beside.directory / "clone")
    ran = beside.snakemake(*ELSEWHERE, "--cores", "2", smoke=False, config=CONFIG)
    assert ran.returncode == 0, ran.stdout
    results = beside.directory / "elsewhere" / "results" / "smoke"
    assert (results / "index.html").is_file()
    assert outputs(results / RUN) == outputs(finished.results / RUN)
    assert files(beside.directory / "clone") == before
    again = beside.snakemake(*ELSEWHERE, "--cores", "2", smoke=False, config=CONFIG)
    assert "Nothing to be done" in again.stdout


@pytest.mark.parametrize("snakefile", ["clone/Snakefile", "clone/workflow/Snakefile"])
def test_without_an_overlay_it_is_the_published_study(
    beside: Repository, untouched: Repository, snakefile: str
) -> None:
    published = untouched.jobs_to_run(smoke=False)
    ran = beside.snakemake(
        *("--snakefile", snakefile, "--directory", "elsewhere", "--dry-run"), smoke=False
    )
    assert listed_jobs(ran.stdout) == published
    profile = Path(snakefile).with_name("profiles") / "default"
    assert f"Using workflow specific profile {profile} " in ran.stdout


def test_defaults_of_the_directory_itself_take_the_place_of_the_clones(beside: Repository) -> None:
    shutil.copytree(beside.directory / "clone" / "config", beside.directory / "elsewhere/config")
    own = beside.directory / "elsewhere" / "config" / "config.yaml"
    own.write_text(own.read_text().replace("models: [2, 4, 6]", "models: [2]"))
    jobs = beside.jobs_to_run(*ELSEWHERE, smoke=False)
    assert {job for job in jobs if job.startswith("pretrain_model")} == {
        "pretrain_model data=1 model=2",
        "pretrain_model data=3 model=2",
    }
