"""What `make` shows in the terminal while a study runs, before, and afterwards."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
import yaml

from study import SMOKE, Repository

ONE = {"run": {"data": [4], "models": [2], "protocols": ["full"]}}
CONFIG = f"{SMOKE} one.yaml"
BEGUN = re.compile(r"^\d\d:\d\d:\d\d  begins  (\w+.*)$", re.MULTILINE)
DONE = re.compile(r"^\d\d:\d\d:\d\d  done    (\w+.*) in .*; (\d+) of (\d+)$", re.MULTILINE)


def make(
    repository: Repository, *arguments: str, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run make with the packages that run this test; stdout holds all it said."""
    ready = repository.directory / ".venv" / "installed"
    ready.parent.mkdir(exist_ok=True)
    ready.touch()
    # Also without what a `make` that runs this test hands on to one below it.
    left = {"DISPLAY", "BROWSER", "MAKEFLAGS", "MAKELEVEL", "MFLAGS"}
    kept = {key: value for key, value in os.environ.items() if key not in left}
    return subprocess.run(
        ["make", *arguments, f"BIN={Path(sys.executable).parent}"],
        cwd=repository.directory,
        env={**kept, "SLURM_CONF": os.devnull, **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler) and None,
    )


def configured(repository: Repository, **changes: Any) -> Repository:
    """Write the configuration that `CONFIG` names."""
    (repository.directory / "one.yaml").write_text(yaml.safe_dump(ONE | changes))
    return repository


@pytest.fixture(scope="module")
def planned(untouched: Repository, tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """A repository in which a study of one model may run."""
    return configured(untouched.copy_to(tmp_path_factory.mktemp("terminal") / "repository"))


@pytest.fixture(scope="module")
def plan(planned: Repository) -> str:
    """What `make plan` says before the study runs."""
    ran = make(planned, "plan", f"CONFIG={CONFIG}")
    assert ran.returncode == 0, ran.stdout
    assert not planned.results.exists()
    return ran.stdout


@pytest.fixture(scope="module")
def said(planned: Repository, plan: str) -> str:
    """What `make run` says while it runs."""
    ran = make(planned, "run", f"CONFIG={CONFIG}", "CORES=2")
    assert ran.returncode == 0, ran.stdout
    return ran.stdout


def test_a_plan_counts_the_jobs_of_each_rule_and_tells_how_long_training_takes(plan: str) -> None:
    [jobs] = re.findall(r"^(\d+) jobs would run:$", plan, re.MULTILINE)
    counts = re.findall(r"^ +(\d+)  (\w+)$", plan, re.MULTILINE)
    assert sum(int(count) for count, _ in counts) == int(jobs)
    assert {("1", "pretrain_model"), ("1", "finetune_model")} <= set(counts)
    runs = re.findall(r"^ +(.*(?:s|min))  (\S+/\S+)$", plan, re.MULTILINE)
    assert [name for _, name in runs] == [
        "pretrain/data_4/model_2",
        "finetune/domain_1/data_4/model_2/full",
    ]
    assert not re.search(r"\b0 s\b", plan)
    cores = len(os.sched_getaffinity(0))
    told = rf"^All takes about \d+ s of one core, .* on {cores} cores? about \d+ s\."
    assert re.search(told, plan, re.MULTILINE)


def test_each_job_has_a_line_when_it_begins_and_one_when_it_ends(said: str, plan: str) -> None:
    begun, done = BEGUN.findall(said), DONE.findall(said)
    assert {"pretrain_model data 4, model 2", "write_index"} <= set(begun)
    assert sorted(begun) == sorted(name for name, _, _ in done)
    [total] = {int(total) for _, _, total in done}
    assert f"{total} jobs would run:" in plan
    assert [int(number) for _, number, _ in done] == sorted(int(number) for _, number, _ in done)


def test_little_else_is_said_and_the_log_has_the_rest(said: str) -> None:
    jobs = len(BEGUN.findall(said))
    assert len(said) < 150 * jobs + 3000
    assert "reason:" not in said
    [log] = re.findall(r"^Complete log\(s\): (.*)$", said, re.MULTILINE)
    assert Path(log).read_text().count("    reason: ") >= jobs


def test_the_last_screen_has_the_verdict_the_page_and_the_next_command(
    said: str, planned: Repository
) -> None:
    page, following = said.splitlines()[-2:]
    assert page == "The page: results/smoke/index.html"
    assert (planned.directory / page.removeprefix("The page: ")).is_file()
    verdict = " ".join(said.partition("\n\n")[2].split())
    assert re.search(r"ends at a math_acc of 0\.\d{3} against 0\.\d{3} on data 4", verdict)
    shown = make(planned, *following.removeprefix("Next: make ").replace("'", "").split(" ", 1))
    assert shown.returncode == 0, shown.stdout


def test_the_page_is_opened_or_where_there_is_no_browser_named(
    said: str, planned: Repository, tmp_path: Path
) -> None:
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" > {tmp_path}/asked\n')
    browser.chmod(0o755)
    page = planned.results / "index.html"
    there = make(planned, "open", f"CONFIG={CONFIG}", environment={"BROWSER": f"{browser} %s"})
    nowhere = make(planned, "open", f"CONFIG={CONFIG}", environment={"PATH": "/usr/bin:/bin"})
    assert (tmp_path / "asked").read_text().strip() == page.as_uri()
    assert there.stdout == "results/smoke/index.html is shown\n"
    assert nowhere.stdout == "results/smoke/index.html is the page; no browser was found here\n"


def test_a_finished_study_runs_nothing_and_is_told_again(said: str, planned: Repository) -> None:
    again = make(planned, "run", f"CONFIG={CONFIG}")
    assert re.search("^Nothing to be done", again.stdout, re.MULTILINE)
    assert again.stdout.splitlines()[-2:] == said.splitlines()[-2:]


def test_a_finished_study_is_packed_into_one_file(said: str, planned: Repository) -> None:
    ran = make(planned, "report", f"CONFIG={CONFIG}")
    assert ran.returncode == 0, ran.stdout
    path = ran.stdout.splitlines()[-1]
    assert path == "results/report_one.zip"
    with ZipFile(planned.directory / path) as file:
        assert "report_one/report.html" in file.namelist()


def test_a_failed_job_is_told_with_the_end_of_its_log(clone: Repository) -> None:
    configured(clone, pretrain={"learning_rate": 1e30, "num_warmup_steps": 0})
    ran = make(clone, "run", f"CONFIG={CONFIG}", "CORES=2")
    log = "results/smoke/logs/pretrain/data_4/model_2.log"
    job = "pretrain_model data 4, model 2"
    assert ran.returncode != 0
    before, told = re.split(rf"^.*  FAILED  {job} after .*\n", ran.stdout, flags=re.MULTILINE)
    assert f"begins  {job}" in before
    assert told.startswith(f"    {log}")
    assert re.search(r"^      FloatingPointError: seed 0 diverged", told, re.MULTILINE)
    assert re.search(rf"^1 of \d+ jobs failed:\n  {job}: {log}$", told, re.MULTILINE)
    assert "The page:" not in told


def test_plain_snakemake_says_what_it_always_says(planned: Repository) -> None:
    ran = planned.snakemake("--dry-run", "--forceall", smoke=True, config=ONE)
    assert "rule all:" in ran.stdout
    assert "reason: Forced execution" in ran.stdout
