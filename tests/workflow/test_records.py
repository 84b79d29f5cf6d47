"""What finished jobs say of themselves decides what runs again, where Snakemake does not know."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from study import Repository

FORGOTTEN = {"pretrain": {"num_train_epochs": 3}}
TRAININGS = {
    f"{rule} data={data} {version}"
    for data in (4, 5)
    for model in (2, 4)
    for rule, version in (
        ("pretrain_model", f"model={model}"),
        ("finetune_model", f"domain=1 model={model} protocol=full"),
    )
}


def forget(study: Repository) -> None:
    """Make of a finished study a copy of its results: without what Snakemake remembers."""
    shutil.rmtree(study.directory / ".snakemake")


def trainings(jobs: set[str]) -> set[str]:
    return {job for job in jobs if job.startswith(("pretrain_model", "finetune_model"))}


def test_results_that_belong_to_the_study_are_kept_without_snakemakes_memory(
    study: Repository,
) -> None:
    forget(study)
    assert study.jobs_to_run() == set()


def test_what_was_made_with_other_settings_is_made_again(study: Repository) -> None:
    forget(study)
    ran = study.snakemake("--dry-run", config=FORGOTTEN)
    assert "model_2/run.json: is made again: num_train_epochs was 12, is 3" in ran.stdout
    assert trainings(study.jobs_to_run(config=FORGOTTEN)) == TRAININGS

    jobs = study.jobs_to_run(config={"data": {4: {"digits": 3}}})
    assert {"generate_equations data=4", "pretrain_model data=4 model=2"} <= jobs
    assert not any("data=5" in job for job in trainings(jobs))

    jobs = study.jobs_to_run(config={"domains": {1: {"labels": ["has_zero"]}}})
    assert "label_domains data=4 domain=1" in jobs
    assert not any(job.startswith("pretrain_model") for job in jobs)


def test_what_other_code_made_is_made_again(study: Repository) -> None:
    forget(study)
    path = study.directory / "workflow/scripts/gpt_math_domains/training/stack.py"
    path.write_text(path.read_text() + "\n\nCHANGED = True\n")
    assert study.jobs_to_run() >= TRAININGS


def older(path: Path) -> None:
    os.utime(path, (0, 0))


def other_weights(study: Repository) -> str:
    """Put another run's weights in place, as old as a copy may make them."""
    run = study.results / "pretrain/data_4/model_2"
    shutil.copy(run / "seed_1/model.safetensors", run / "seed_0/model.safetensors")
    older(run / "seed_0/model.safetensors")
    return "pretrain_model data=4 model=2"


def other_labels(study: Repository) -> str:
    """Put labels in place that have the same names, of which one was changed."""
    path = study.results / "domains/1/data_4/valid.csv"
    path.write_text(path.read_text().replace(",1\n", ",0\n", 1))
    older(path)
    return "label_domains data=4 domain=1"


def other_equations(study: Repository) -> str:
    path = study.results / "data/4/train.csv"
    path.write_text(path.read_text().replace("0 + 2", "0 + 1", 1))
    older(path)
    return "generate_equations data=4"


def other_metrics(study: Repository) -> str:
    runs = study.results / "pretrain/data_4"
    shutil.copy(runs / "model_2/metrics.csv", runs / "model_4/metrics.csv")
    older(runs / "model_4/metrics.csv")
    return "pretrain_model data=4 model=4"


def other_run(study: Repository) -> str:
    """Put all of a run in the place of one that differs by its protocol alone."""
    runs = study.results / "finetune/domain_1/data_4/model_2"
    record = json.loads((runs / "full/run.json").read_text())
    record["run"]["protocol"] = "frozen"
    (runs / "full/run.json").write_text(json.dumps(record))
    older(runs / "full/run.json")
    return "finetune_model data=4 domain=1 model=2 protocol=full"


@pytest.mark.parametrize(
    "change", [other_weights, other_labels, other_equations, other_metrics, other_run]
)
def test_a_file_that_is_another_is_seen_whatever_its_time(
    study: Repository, change: Callable[[Repository], str]
) -> None:
    job = change(study)
    assert job in study.jobs_to_run()
    ran = study.snakemake("--cores", "2")
    assert ran.returncode == 0, ran.stdout
    assert study.jobs_to_run() == set()


def test_a_record_that_says_nothing_is_no_reason_to_keep_a_run(study: Repository) -> None:
    forget(study)
    record = study.results / "pretrain/data_4/model_2/run.json"
    for content in ("", "[]", "{}", json.dumps({"settings": 3, "inputs": [1]})):
        record.write_text(content)
        assert "pretrain_model data=4 model=2" in study.jobs_to_run()


def test_labels_of_other_equations_are_made_again(study: Repository) -> None:
    labels = study.results / "domains/1"
    shutil.copytree(labels / "data_5", labels / "data_4", dirs_exist_ok=True)
    run = study.results / "finetune/domain_1/data_4/model_2/full"
    (run / "metrics.csv").unlink()
    target = (run / "metrics.csv").relative_to(study.directory)
    ran = study.snakemake(str(target), "--cores", "1")
    assert ran.returncode == 0, ran.stdout  # they are made again
    manifest = json.loads((labels / "data_4/manifest.json").read_text())
    data = json.loads((study.results / "data/4/manifest.json").read_text())
    assert manifest["equations"] == {part: data["sha256"][part] for part in ("train", "valid")}
