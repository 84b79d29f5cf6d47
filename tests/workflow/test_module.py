"""Another workflow uses this one as a module, as docs/module.md shows."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from study import ROOT, SMOKE, Repository, listed_jobs
from training_job import outputs

RUN = "pretrain/data_4/model_2"
# The smoke study's smallest part.
CONFIG = yaml.safe_load((ROOT / SMOKE).read_text())
CONFIG["run"] |= {"data": [4], "models": [2], "protocols": ["full"]}


def snippet() -> str:
    """Return the Snakefile that docs/module.md shows."""
    [text] = re.findall(
        r"```python\n(configfile:.*?)```", (ROOT / "docs" / "module.md").read_text(), re.S
    )
    return str(text)


def files(directory: Path) -> set[str]:
    """Return the files that lie in a directory, Python's caches aside."""
    found = (str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file())
    return {name for name in found if "__pycache__" not in name}


@pytest.fixture
def other(untouched: Repository, tmp_path: Path) -> Iterator[Repository]:
    """Another workflow, whose directory lies beside a clone of this repository."""
    untouched.copy_to(tmp_path / "gpt-math-domains")
    directory = tmp_path / "other workflow"
    directory.mkdir()
    write(directory, snippet(), CONFIG)
    yield Repository(directory)
    shutil.rmtree(tmp_path)


def write(directory: Path, snakefile: str, config: Any) -> None:
    (directory / "Snakefile").write_text(snakefile)
    (directory / "config.yaml").write_text(yaml.safe_dump({"gpt_math_domains": config}))


def test_the_study_runs_inside_another_workflow_to_the_same_bits(
    other: Repository, finished: Repository
) -> None:
    clone = other.directory.parent / "gpt-math-domains"
    before = files(clone)
    own = """

rule count_runs:
    input:
        rules.gpt_summarize_metrics.output.summary,
    output:
        "runs.txt",
    shell:
        "tail -n +2 {input} | wc -l > {output}"
"""
    write(other.directory, snippet() + own, CONFIG)

    ran = other.snakemake("--cores", "2", "all", "runs.txt", smoke=False)

    assert ran.returncode == 0, ran.stdout
    results = other.directory / "gpt_math_domains" / "results" / "smoke"
    assert (other.directory / "runs.txt").read_text().strip() == "2"
    assert (results / "index.html").is_file()
    assert outputs(results / RUN) == outputs(finished.results / RUN)
    assert all(job.startswith(("gpt_", "count_runs")) for job in listed_jobs(ran.stdout))
    assert files(clone) == before  # everything is in the other workflow's directory
    again = other.snakemake("--cores", "2", "all", "runs.txt", smoke=False)
    assert "Nothing to be done" in again.stdout


def test_without_a_prefix_the_configuration_says_where_results_go(other: Repository) -> None:
    plain = snippet().replace('    prefix:\n        "gpt_math_domains"\n', "")
    assert "prefix" not in plain
    write(other.directory, plain, CONFIG)
    metrics = f"results/smoke/{RUN}/metrics.csv"
    assert other.jobs_to_run(metrics, smoke=False) == {
        "gpt_generate_equations data=4",
        "gpt_pretrain_model data=4 model=2",
    }


def test_an_empty_configuration_is_the_published_study(
    other: Repository, untouched: Repository
) -> None:
    write(other.directory, snippet(), {})
    published = untouched.jobs_to_run(smoke=False)
    assert other.jobs_to_run(smoke=False) == {f"gpt_{job}" for job in published}


def test_two_studies_stand_side_by_side(other: Repository) -> None:
    """Each module has a name, and so a prefix and names of rules, of its own."""
    second = snippet().partition("\n\n")[2].partition("\n\n\nrule all")[0]
    second = second.replace("gpt_*", "more_*").replace("module gpt_math", "module more_math")
    second = second.replace("from gpt_math", "from more_math").replace('    "gpt', '    "more')
    write(other.directory, f"{snippet()}\n\n{second}\n", CONFIG)
    jobs = other.jobs_to_run("all", f"more_math_domains/results/smoke/{RUN}/run.json", smoke=False)
    assert "gpt_pretrain_model data=4 model=2" in jobs
    assert {job for job in jobs if job.startswith("more_")} == {
        "more_generate_equations data=4",
        "more_pretrain_model data=4 model=2",
    }


def test_a_mistake_in_the_configuration_is_told_in_one_line(other: Repository) -> None:
    write(other.directory, snippet(), CONFIG | {"devise": "cpu"})
    ran = other.snakemake("--dry-run", smoke=False)
    assert ran.returncode != 0
    assert "config: devise: unknown key; did you mean device?" in ran.stdout
    assert "Traceback" not in ran.stdout


def test_a_grid_has_its_points_inside_another_workflow(other: Repository) -> None:
    grid = {"grid": {"data.train_share": [0.5], "pretrain.weight_decay": [0.1, 1]}}
    write(other.directory, snippet(), CONFIG | grid)
    point = "grid/data.train_share~0.5/pretrain.weight_decay~1/"
    metrics = f"gpt_math_domains/results/smoke/{point}{RUN}/metrics.csv"
    assert other.jobs_to_run(metrics, smoke=False) == {
        "gpt_generate_equations data=4 point=grid/data.train_share~0.5/",
        f"gpt_pretrain_model data=4 model=2 point={point}",
    }
