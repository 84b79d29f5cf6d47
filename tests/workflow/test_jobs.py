"""What the workflow plans, before any job runs."""

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from gpt_math_domains.study.estimate import has_cuda
from study import Repository


@pytest.fixture
def without_torch(tmp_path: Path) -> dict[str, str]:
    """Environment variables under which torch cannot be imported."""
    package = tmp_path / "no_torch" / "torch"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise ImportError('there is no torch here')\n")
    return {"PYTHONPATH": str(package.parent)}


def test_the_published_study_is_these_jobs(untouched: Repository) -> None:
    rules = Counter(job.split()[0] for job in untouched.jobs_to_run(smoke=False))
    figures = {rule: rules.pop(rule) for rule in list(rules) if rule.startswith("plot_")}
    assert figures == {
        "plot_pretrain_curves": 2,
        "plot_pretrain_generalization": 2,
        "plot_pretrain_norms": 2,
        "plot_answers": 2,
        "plot_families": 2,
        "plot_finetune_curves": 2,
        "plot_finetune_generalization": 2,
        "plot_finetune_norms": 2,
        "plot_labels": 2,
        "plot_transfer": 2,
        "plot_pretrain_scale": 1,
        "plot_finetune_scale": 1,
        "plot_rules": 1,
        "plot_timeline": 1,
    }
    assert rules == {
        "generate_equations": 2,
        "label_domains": 2,
        "compute_pretrain_baselines": 2,
        "compute_finetune_baselines": 2,
        "pretrain_model": 6,
        "judge_answers": 6,
        "trace_rules": 1,
        "finetune_model": 6,
        "collect_pretrain_metrics": 1,
        "collect_finetune_metrics": 1,
        "summarize_metrics": 1,
        "copy_plotly": 1,
        "write_index": 1,
        "write_made": 1,
        "bundle_report": 1,
    }


def test_one_figure_asks_for_its_own_data_alone(untouched: Repository) -> None:
    jobs = untouched.jobs_to_run("results/plots/finetune_1_pretrain_3.html", smoke=False)
    runs = {f"pretrain_model data=3 model={model}" for model in (2, 4, 6)}
    runs |= {f"finetune_model data=3 domain=1 model={m} protocol=full" for m in (2, 4, 6)}
    assert jobs == runs | {
        "generate_equations data=3",
        "label_domains data=3 domain=1",
        "compute_finetune_baselines data=3 domain=1",
        "plot_finetune_curves data=3 domain=1",
        "copy_plotly",
    }


def test_the_linter_has_nothing_to_say(untouched: Repository) -> None:
    ran = untouched.snakemake("--lint", smoke=False)
    assert ran.returncode == 0
    assert "your workflow is in a good condition" in ran.stdout


def test_planning_needs_no_torch(untouched: Repository, without_torch: dict[str, str]) -> None:
    ran = untouched.snakemake("--dry-run", smoke=False, environment=without_torch)
    assert ran.returncode == 0, ran.stdout
    imported = subprocess.run(
        [sys.executable, "-c", "import torch"], env=without_torch, capture_output=True, text=True
    )
    assert "there is no torch here" in imported.stderr


def test_long_training_on_a_cpu_is_announced_unless_the_cpu_was_chosen(
    clone: Repository, without_torch: dict[str, str]
) -> None:
    """Training fails at once here, for want of torch; the announcement comes before it."""
    start = ("--cores", "1", "results/pretrain/data_1/model_6/metrics.csv")
    warning = r"No CUDA device found: .* takes about [\d,.]+ (hours|days) .* `make quick`"

    by_default = clone.snakemake(*start, smoke=False, environment=without_torch)
    by_choice = clone.snakemake(
        *start, smoke=False, environment=without_torch, config={"device": "cpu"}
    )

    assert bool(re.search(warning, by_default.stdout)) != has_cuda()
    assert "CUDA" not in by_choice.stdout
    for ran in (by_default, by_choice):
        assert "there is no torch here" in ran.stdout
        assert ran.returncode != 0
