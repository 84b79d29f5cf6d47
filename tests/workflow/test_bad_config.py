"""A configuration that cannot run is refused before any job, in one line that helps."""

import re
from pathlib import Path
from typing import Any

import pytest

from study import Repository

# What a configuration says, and the line that refuses it: key, value, what is allowed.
BAD = [
    (
        {"pretrain": {"learning_rate": -1e-3}},
        "pretrain.learning_rate = -0.001: input should be greater than 0",
    ),
    (
        {"finetune": {"learning_rates": 1e-3}},
        "finetune.learning_rates: unknown key; did you mean learning_rate? Known keys: ",
    ),
    (
        {"models": {2: {"num_heads": 3}}},
        "models.2.num_heads = 3: must divide d_model = 16",
    ),
    (
        {"data": {5: {"modulo": 6}}},
        "data.5.modulo = 6: must be 2 to digits = 5",
    ),
    (
        {"data": {5: {"holdout": {"operation": ["add", "subtract", "multiply", "divide"]}}}},
        "data.5.holdout = {'operation': ['add', 'subtract', 'multiply', 'divide']}: must leave a "
        "family to train on",
    ),
    (
        {"run": {"models": [2, 9]}},
        "run.models = 9: not defined under models, which has [2, 4, 6]",
    ),
    (
        {"run": {"protocols": ["full", "half"]}},
        "run.protocols.1 = 'half': input should be 'full', 'frozen', 'scratch' or 'random_frozen'",
    ),
]


@pytest.mark.parametrize(
    ("config", "line"), [pytest.param(*case, id=case[1].split(":")[0]) for case in BAD]
)
def test_a_bad_value_is_refused_in_one_line(
    clone: Repository, config: dict[str, Any], line: str
) -> None:
    ran = clone.snakemake("--cores", "1", config=config)
    assert ran.returncode != 0
    assert ran.stdout.count(f"\nconfig: {line}") == 1, ran.stdout
    assert ran.stdout.count("config: ") == 1, ran.stdout
    assert "Traceback" not in ran.stdout
    assert not clone.results.exists()


def test_a_bad_value_on_the_command_line_is_refused_too(clone: Repository) -> None:
    ran = clone.snakemake("--cores", "1", "--config", "device=tpu", smoke=False)
    assert ran.returncode != 0
    assert "config: device = 'tpu': input should be 'auto', 'cpu' or 'cuda'" in ran.stdout
    assert "Traceback" not in ran.stdout


def test_every_fault_gets_its_line(clone: Repository) -> None:
    ran = clone.snakemake("--cores", "1", config={"device": "tpu", "pretrain": {"batch_size": 0}})
    assert "config: device = 'tpu': " in ran.stdout
    assert "config: pretrain.batch_size = 0: " in ran.stdout


def test_results_survive_a_bad_configuration(study: Repository) -> None:
    def state() -> dict[Path, tuple[float, bytes]]:
        files = (path for path in study.results.rglob("*") if path.is_file())
        return {path: (path.stat().st_mtime, path.read_bytes()) for path in files}

    before = state()
    ran = study.snakemake("--cores", "1", config={"data": {4: {"digits": 1}}})
    assert ran.returncode != 0
    assert state() == before


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "Config file must be given as JSON or YAML with keys at top level"),
        ("- run\n", "Config file must be given as JSON or YAML with keys at top level"),
        ("run: [\n", "Config file is not valid JSON or YAML"),
        ("device: !!python/object/apply:os.system ['touch run']\n", "not valid JSON or YAML"),
        (
            "device: cpu\ndevice: auto\n",
            "config: .*mine.yaml, line 2: device: this key stands twice",
        ),
        ("__use_yte__: true\n", "config: .*mine.yaml, line 1: __use_yte__: a configuration holds"),
        ("pathvars: {results: [a]}\n", "Pathvars have to be a mapping of str to str"),
        ("run: 3\n", "config: run = 3: must be a section"),
    ],
)
def test_a_file_that_is_no_configuration_is_refused(
    clone: Repository, content: str, said: str
) -> None:
    (clone.directory / "mine.yaml").write_text(content)
    ran = clone.snakemake("--cores", "1", "--configfile", "mine.yaml", smoke=False)
    assert ran.returncode != 0
    assert len(re.findall(said, ran.stdout)) == 1, ran.stdout
    assert "Traceback" not in ran.stdout
    assert not (clone.directory / "results").exists()
    assert not (clone.directory / "run").exists()


def test_a_configuration_that_is_not_there_is_named(clone: Repository) -> None:
    ran = clone.snakemake("--cores", "1", "--configfile", "mine.yaml", smoke=False)
    assert ran.returncode != 0
    assert ran.stdout.strip().endswith("No such file or directory: 'mine.yaml'")
    assert not (clone.directory / "results").exists()


@pytest.mark.parametrize(
    ("target", "line"),
    [
        ("plots/pretrain_7.html", "data 7: not defined under data, which has [1, 3, 4, 5]"),
        (
            "plots/finetune_9_pretrain_4.html",
            "domain 9: not defined under domains, which has [1]",
        ),
        (
            "pretrain/data_4/model_8/metrics.csv",
            "model 8: not defined under models, which has [2, 4, 6]",
        ),
    ],
)
def test_a_target_of_an_undefined_version_is_refused_by_name(
    clone: Repository, target: str, line: str
) -> None:
    ran = clone.snakemake("--cores", "1", f"results/smoke/{target}")
    assert ran.returncode != 0
    assert ran.stdout.count(line) == 1, ran.stdout
    assert "Traceback (most recent call last)" not in ran.stdout
    assert not clone.results.exists()


def test_a_reference_curve_that_is_not_there_is_refused(study: Repository) -> None:
    """Not ignored because its figure is there already."""
    curves = {"figures": {"reference_curves": {"pretrain_4": "published.csv"}}}
    ran = study.snakemake("--cores", "1", config=curves)
    assert ran.returncode != 0
    assert "config: figures.reference_curves.pretrain_4 = 'published.csv': " in ran.stdout
    assert "Traceback" not in ran.stdout
