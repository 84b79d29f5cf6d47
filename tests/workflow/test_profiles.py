"""What the profiles ask for, as a dry run tells; tests/cluster has a cluster carry it out."""

import re

import pytest
import yaml

from study import ROOT, Repository

# In either way the root's `profiles/default` may be read as well.
WAYS = [("--workflow-profile", "profiles/slurm"), ("--profile", "profiles/slurm")]

SCHEDULER_WORDS = re.compile(
    r"slurm|sbatch|partition|account|\bqos\b|\bgres\b|cpus_per|gpu_model|constraint(?!s:)"
)


def resources(output: str) -> dict[str, list[dict[str, str]]]:
    """Return what the jobs of each rule ask for, from what a dry run says."""
    found: dict[str, list[dict[str, str]]] = {}
    blocks = re.findall(r"^ *(?:local)?rule (\w+):\n((?: +\w.*\n)*)", output, re.MULTILINE)
    for rule, details in blocks:
        [listed] = re.findall(r"^ +resources: (.*)$", details, re.MULTILINE)
        asked = dict(pair.split("=", 1) for pair in listed.split(", "))
        found.setdefault(rule, []).append(asked)
    return found


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way[0])
def test_trainings_go_to_the_gpu_partition_and_all_else_does_not(
    untouched: Repository, way: tuple[str, str]
) -> None:
    ran = untouched.snakemake("--dry-run", *way, config={"device": "auto"})
    assert ran.returncode == 0, ran.stdout
    asked = resources(ran.stdout)
    trainings = asked.pop("pretrain_model") + asked.pop("finetune_model")
    assert len(trainings) == 12
    for training in trainings:
        assert training["gpu"] == "1"
        assert training["slurm_partition"] == "gpu"
        assert int(training["runtime"]) >= 10
        assert int(training["mem_mb"]) >= 4096
    assert set(asked) >= {"generate_equations", "plot_finetune_curves", "write_index"}
    for others in asked.values():
        for other in others:
            assert "gpu" not in other
            assert other["slurm_partition"] == "cpu"


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way[0])
def test_small_jobs_share_a_job_of_the_cluster(untouched: Repository, way: tuple[str, str]) -> None:
    ran = untouched.snakemake("--dry-run", *way)
    groups = re.findall(r"Group job (\w+)", ran.stdout)
    assert sorted(groups) == ["figures_4", "figures_5", "prepare", "report"]
    alone = set(re.findall(r"^rule (\w+):", ran.stdout, re.MULTILINE))
    together = {"collect_pretrain_metrics", "collect_finetune_metrics"}
    on_this_machine = {"all", "trace_rules"} | together
    assert alone == {"pretrain_model", "finetune_model"} | on_this_machine


def test_no_training_asks_for_more_time_than_the_profile_allows(untouched: Repository) -> None:
    ran = untouched.snakemake("--dry-run", *WAYS[0], smoke=False)
    profile = yaml.safe_load((ROOT / "profiles/slurm/profile.yaml").read_text())
    limit = profile["default-resources"]["max_runtime"]
    runtimes = [int(job["runtime"]) for job in resources(ran.stdout)["pretrain_model"]]
    assert max(runtimes) == limit
    assert min(runtimes) < limit


@pytest.mark.parametrize(
    ("told", "minutes"),
    [("1d", 1440), ("24h", 1440), ('"1440"', 1440), ('"90 min"', 90)],
)
def test_the_longest_time_may_be_told_in_words(clone: Repository, told: str, minutes: int) -> None:
    tell_longest(clone, told)
    ran = clone.snakemake("--dry-run", *WAYS[0], smoke=False)
    assert ran.returncode == 0, ran.stdout
    runtimes = [int(job["runtime"]) for job in resources(ran.stdout)["pretrain_model"]]
    assert max(runtimes) == minutes


@pytest.mark.parametrize("told", ["soon", "0", "-5", "1.5", "true", "[1]"])
def test_a_longest_time_that_is_none_is_refused_in_one_line(clone: Repository, told: str) -> None:
    tell_longest(clone, told)
    ran = clone.snakemake("--dry-run", *WAYS[0], smoke=False)
    assert ran.returncode != 0
    assert ran.stdout.count("max_runtime") == 1, ran.stdout
    assert "Traceback" not in ran.stdout


def tell_longest(clone: Repository, told: str) -> None:
    path = clone.directory / "profiles" / "slurm" / "profile.yaml"
    text, count = re.subn("max_runtime: 1440", f"max_runtime: {told}", path.read_text())
    assert count == 1
    path.write_text(text)


def test_a_training_on_the_cpu_by_choice_asks_for_no_gpu_and_for_more_time(
    untouched: Repository,
) -> None:
    said = {
        device: untouched.snakemake(
            "--dry-run", "results/pretrain/data_1/model_4/metrics.csv", smoke=False, config=config
        ).stdout
        for device, config in {"auto": {}, "cpu": {"device": "cpu"}}.items()
    }
    [on_gpu], [on_cpu] = (resources(said[name])["pretrain_model"] for name in ("auto", "cpu"))
    assert on_gpu["gpu"] == "1"
    assert on_cpu.get("gpu", "0") == "0"
    assert int(on_cpu["runtime"]) > int(on_gpu["runtime"])


def test_words_of_a_scheduler_stand_in_profiles_alone() -> None:
    for path in [ROOT / "Snakefile", *(ROOT / "workflow/rules").glob("*.smk")]:
        assert not SCHEDULER_WORDS.search(path.read_text(encoding="utf-8")), path


def test_what_a_user_edits_stands_in_one_marked_place() -> None:
    text = (ROOT / "profiles/slurm/profile.yaml").read_text()
    marked = text.split("# ---")[1]
    for word in ("slurm_partition", "slurm_account", "gpu_model", "max_runtime"):
        assert word in marked
        assert word not in text.replace(marked, "")
