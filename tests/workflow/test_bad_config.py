"""A configuration that cannot run is refused before any job, in one line that helps."""

import json
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
        ("plots/finetune_9_scale.html", "domain 9: not defined under domains, which has [1]"),
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


def test_the_published_file_is_checked_before_snakemake_reads_it(clone: Repository) -> None:
    path = clone.directory / "config" / "config.yaml"
    for content, said in (
        ("device: cpu".encode("utf-16"), "not YAML: 'utf-8' codec can't decode byte 0xff"),
        (b"run: &x {data: *x}\n", "line 1: contains itself"),
        (b"device: " + b"[" * 5_000, "not YAML: maximum recursion depth exceeded"),
        (b"device: " + b"1" * 5_000, "not YAML: Exceeds the limit (4300 digits)"),
        (path.read_bytes() + b"device: cpu\n", "device: this key stands twice in its section"),
    ):
        path.write_bytes(content)
        ran = clone.snakemake("--cores", "1", smoke=False)
        assert ran.returncode != 0
        assert ran.stdout.count("config: ") == 1, ran.stdout
        assert said in ran.stdout
        assert "Traceback" not in ran.stdout
    assert not (clone.directory / "results").exists()


def test_a_study_may_be_told_on_the_command_line_or_in_json(clone: Repository) -> None:
    written = {"data": {"6": {"digits": 3}}, "run": {"data": [6]}, "pathvars": {"results": "j"}}
    (clone.directory / "mine.json").write_text(json.dumps(written, indent="\t"))
    files = ["--configfile", "tests/workflow/smoke.yaml", "mine.json"]
    given = ["--config", 'run={"seeds": [5, 7]}', 'models={"2": {"d_model": 18}}']
    target = "j/pretrain/data_6/model_2/metrics.csv"
    ran = clone.snakemake(target, "--cores", "1", *given, *files, smoke=False)
    assert ran.returncode == 0, ran.stdout
    record = json.loads((clone.directory / target).with_name("run.json").read_text())
    assert (record["seeds"], record["model"]["d_model"]) == ([5, 7], 18)


def test_a_setting_that_is_named_later_is_not_undone_by_earlier_overrides(
    clone: Repository,
) -> None:
    (clone.directory / "mine.yaml").write_text("pretrain: {num_train_epochs: 3}\n")
    target = "results/pretrain/data_1/model_2/metrics.csv"
    ran = clone.snakemake(
        target, "--dry-run", "--printshellcmds", "--configfile", "mine.yaml", smoke=False
    )
    assert ran.returncode == 0, ran.stdout
    doubt = "config: pretrain.num_warmup_steps: data 1 model 2 and 5 more: the warmup does not end"
    assert ran.stdout.count(doubt) == 1


def test_a_home_is_found_and_a_path_with_braces_is_refused(clone: Repository) -> None:
    home = {"HOME": str(clone.directory / "home")}
    results = {"pathvars": {"results": "~/study"}}
    ran = clone.snakemake(
        "--cores", "1", "--until", "generate_equations", config=results, environment=home
    )
    assert ran.returncode == 0, ran.stdout
    assert (clone.directory / "home" / "study" / "data" / "4" / "train.csv").is_file()
    assert not (clone.directory / "~").exists()

    ran = clone.snakemake("--cores", "1", config={"pathvars": {"results": "a{b}"}})
    assert ran.stdout.count("\nconfig: pathvars.results = 'a{b}': must be a path of printable") == 1


def test_a_reference_curve_that_is_not_there_is_refused(study: Repository) -> None:
    """Not ignored because its figure is there already."""
    curves = {"figures": {"reference_curves": {"pretrain_4": "published.csv"}}}
    ran = study.snakemake("--cores", "1", config=curves)
    assert ran.returncode != 0
    assert "config: figures.reference_curves.pretrain_4 = 'published.csv': " in ran.stdout
    assert "Traceback" not in ran.stdout
