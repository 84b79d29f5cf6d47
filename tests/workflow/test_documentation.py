"""What README.md and the other pages say is so, and what they tell to type works."""

import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml
from snakemake.utils import update_config

from gpt_math_domains.data.equations import generate_equations
from gpt_math_domains.data.labels import LABELS, label_domains
from gpt_math_domains.data.settings import DataSettings
from gpt_math_domains.figures.rules import reduced
from gpt_math_domains.results.rules import read_graph
from gpt_math_domains.study.config import load_study
from study import ROOT, Repository

PAGES = [
    *map(ROOT.joinpath, ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *map(ROOT.joinpath, ("config/README.md", "benchmarks/README.md")),
    *sorted(ROOT.joinpath("docs").rglob("*.md")),
]
WORKFLOW = "tests/workflow"

# Commands that are run elsewhere, and where; `.ci/run` has them as they stand here.
TESTED = {
    "make quick": ".ci/run",
    "make test": ".ci/run",
    "make test-browser": ".ci/run",
    "make test-conda": ".ci/run",
    "make test-slurm": ".ci/run",
    "make lint": ".ci/run",
    "make plan CONFIG=config/quick.yaml": f"{WORKFLOW}/test_terminal.py::"
    "test_a_plan_counts_the_jobs_of_each_rule_and_tells_how_long_training_takes",
    "make run CONFIG=config/quick.yaml CORES=4": f"{WORKFLOW}/test_terminal.py::"
    "test_each_job_has_a_line_when_it_begins_and_one_when_it_ends",
    "make open CONFIG=config/quick.yaml": f"{WORKFLOW}/test_terminal.py::"
    "test_the_page_is_opened_or_where_there_is_no_browser_named",
    "make report CONFIG=config/quick.yaml": f"{WORKFLOW}/test_terminal.py::"
    "test_a_finished_study_is_packed_into_one_file",
    "make watch": f"{WORKFLOW}/test_live_view.py::"
    "test_a_running_study_is_shown_and_neither_disturbed_nor_made_to_run_again",
    "make watch CONFIG=config/quick.yaml PORT=8001": "tests/unit/pages/test_watch.py::"
    "test_the_server_shows_the_page_and_what_it_needs_and_nothing_else",
    'gpt-math-domains ask results/quick/pretrain/data_1/model_2 "3 + 4 =(m) 5" "2-5="': ""
    "tests/tools/test_package.py::test_the_installed_command_asks_a_model_from_anywhere",
    "gpt-math-domains compare results/quick results/mine --page compare.html": "tests/unit/results/"
    "test_comparison.py::"
    "test_the_page_has_both_curves_of_each_shared_run_and_escapes_what_it_shows",
    "gpt-math-domains events results/quick events": "tests/tools/test_events.py::"
    "test_every_measure_of_every_seed_is_a_scalar_at_its_step",
    "gpt-math-domains cards results/quick": "tests/tools/test_cards.py::"
    "test_every_checkpoint_and_data_version_has_a_card",
    **dict.fromkeys(
        (
            "from transformers import pipeline",
            "from transformer_lens.model_bridge import TransformerBridge",
            "from nnsight import TransformersModel",
            "from gpt_math_domains.training.ask import ask",
        ),
        "tests/tools/test_examples.py::test_an_example_runs",
    ),
    "module gpt_math_domains:": f"{WORKFLOW}/test_forge.py::"
    "test_the_study_runs_from_a_forge_to_the_same_bits",
    "snakedeploy deploy-workflow https://github.com/OWNER/gpt-math-domains . --tag TAG": ""
    "tests/tools/test_snakedeploy.py::"
    "test_what_is_deployed_would_run_the_jobs_of_a_clone",
    "def close(equation):": "tests/unit/data/test_labels.py::"
    "test_labels_of_ones_own_are_asked_of_each_equation_by_its_parts",
    "snakemake --snakefile clone/Snakefile --directory elsewhere --configfile mine.yaml": ""
    f"{WORKFLOW}/test_directories.py::"
    "test_the_study_runs_in_another_directory_and_leaves_the_clone_alone",
    "snakemake trajectories": f"{WORKFLOW}/test_trajectories.py::"
    "test_checkpoints_along_training_load_are_recorded_and_judged",
    "snakemake interpretability": f"{WORKFLOW}/test_interpretability.py::"
    "test_tables_and_pages_of_the_inside_of_models_are_made_once",
    "snakemake --report results/report.zip": f"{WORKFLOW}/test_report.py::"
    "test_the_report_has_every_figure_table_and_the_page_each_with_a_caption",
    "snakemake --sdm apptainer": f"{WORKFLOW}/test_container.py::"
    "test_jobs_run_in_the_image_to_the_same_bits",
    'configfile: "config.yaml"': f"{WORKFLOW}/test_module.py::"
    "test_the_study_runs_inside_another_workflow_to_the_same_bits",
}
# Commands that no test runs, and why.
NOT_RUN = {
    "source .venv/bin/activate": "it changes the shell; tests run in the environment already",
    "make reproduce": "it takes days; its parts run as other studies do, its tables have a test",
    ".venv/bin/python docs/reproduction/trials.py aligned --seeds 6": "it takes long, and what "
    "`make reproduce` makes; tests/unit/results/test_trials.py runs two steps of it",
    ".venv/bin/python docs/reproduction/orders.py shuffled_once --data 3": "it takes long; "
    "tests/unit/results/test_orders.py runs a thousand steps of it",
    "make stress": "it takes long; its tests run at fewer moments in `make test`",
    "make test-tools": "it installs two more environments; `.ci/run` runs it",
    ".ci/run": "it is what runs the tests",
    ".venv/bin/pre-commit install": "it writes into .git, which copies of the repository lack",
    "ssh -L 8000:127.0.0.1:8000 machine": "it needs another machine",
    "CONDA_OVERRIDE_CUDA=12.8 snakemake --sdm conda --conda-create-envs-only": "it needs "
    "conda-forge; `make test-conda` makes environments from a channel of its own",
    "podman build --file Containerfile --tag gpt-math-domains .": "it needs podman and a registry",
    "podman save --format oci-archive --output gpt-math-domains.tar gpt-math-domains": "as above",
    "apptainer build gpt-math-domains.sif oci-archive:gpt-math-domains.tar": "it needs apptainer",
    'snakemake --sdm apptainer --apptainer-args "--nv"': "it needs apptainer and a GPU",
}
# Tried below: dry runs of Snakemake, what pytest is told to find, and the model that is asked.
PYTEST = ".venv/bin/pytest "
ASKED = "from transformers import AutoModelForCausalLM, AutoTokenizer"


class Block(NamedTuple):
    """A block of code: its language, `sh` where it is indented, and its text."""

    page: Path
    language: str
    text: str


def blocks(page: Path) -> Iterator[Block]:
    """Yield the blocks of code of a page."""
    text = page.read_text(encoding="utf-8")
    fenced = r"^```(.*)\n((?:.*\n)*?)```$"
    for language, code in re.findall(fenced, text, re.MULTILINE):
        yield Block(page, language, code)
    for code in re.findall(r"(?<=\n\n)((?: {4}.*\n)+)", re.sub(fenced, "", text, flags=re.M)):
        yield Block(page, "sh", code)


BLOCKS = [block for page in PAGES for block in blocks(page)]


def commands() -> Iterator[str]:
    """Yield each command of the pages without its comment, and each Python text's first line."""
    for block in BLOCKS:
        if block.language == "sh":
            lines = block.text.splitlines()
            yield from (line.partition("  #")[0].strip() for line in lines)
        elif block.language == "python":
            yield block.text.partition("\n")[0]


COMMANDS = sorted(set(commands()))
ELSEWHERE = TESTED.keys() | NOT_RUN.keys()
DRY_RUNS = [line for line in COMMANDS if line.startswith("snakemake ") and line not in ELSEWHERE]
COLLECTED = [line for line in COMMANDS if line.startswith(PYTEST)]


def test_each_block_tells_what_it_is() -> None:
    told = {block.language for block in BLOCKS}
    assert told == {"sh", "python", "yaml", "text", "mermaid"}


def test_every_command_is_run_by_a_test_or_there_is_a_reason() -> None:
    assert TESTED.keys().isdisjoint(NOT_RUN)
    assert set(COMMANDS) == ELSEWHERE | {*DRY_RUNS, *COLLECTED, ASKED}


def test_the_tests_that_run_commands_are_there() -> None:
    checks = (ROOT / ".ci" / "run").read_text().splitlines()
    for command, where in TESTED.items():
        path, _, name = where.partition("::")
        if name:
            assert f"def {name}(" in (ROOT / path).read_text(), command
        else:
            assert any(re.search(rf"\b{command}(?: >.*)?$", line) for line in checks), command


@pytest.fixture(scope="module")
def documented(untouched: Repository, tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """The repository with the configuration that README.md tells to save."""
    repository = untouched.copy_to(tmp_path_factory.mktemp("documented") / "repository")
    [mine] = [block.text for block in blocks(ROOT / "README.md") if block.language == "yaml"]
    (repository.directory / "config" / "mine.yaml").write_text(mine)
    return repository


@pytest.mark.parametrize("command", DRY_RUNS)
def test_snakemake_would_run_it(documented: Repository, command: str) -> None:
    ran = documented.snakemake(*shlex.split(command)[1:], "--dry-run", smoke=False)
    assert ran.returncode == 0, ran.stdout
    assert re.search(r"^total +[1-9]", ran.stdout, re.MULTILINE), ran.stdout


def test_the_readmes_own_study_has_what_it_says(documented: Repository) -> None:
    jobs = documented.jobs_to_run("--configfile", "config/mine.yaml", smoke=False)
    runs = {f"pretrain_model data={data} model={model}" for data in (1, 5) for model in (2, 8)}
    assert {job for job in jobs if job.startswith("pretrain_model")} == runs
    assert {"label_domains data=5 domain=2", "label_domains data=1 domain=1"} <= jobs


@pytest.mark.parametrize(
    "block", [b for b in BLOCKS if b.language == "yaml"], ids=lambda block: block.page.name
)
def test_each_configuration_is_one(block: Block) -> None:
    config = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())
    update_config(config, yaml.safe_load(block.text))
    load_study(config)


@pytest.mark.parametrize("command", COLLECTED)
def test_there_are_tests_that_pytest_finds(command: str) -> None:
    path, *chosen = shlex.split(command.removeprefix(PYTEST))
    assert chosen[:1] in ([], ["-k"])
    names = [
        name
        for file in (ROOT / path).rglob("test_*.py")
        for name in re.findall(r"^def (test_\w+)", file.read_text(), re.MULTILINE)
    ]
    assert [name for name in names if not chosen or chosen[1] in name]


def test_a_model_answers_when_it_is_asked_as_the_readme_shows(
    finished: Repository, tmp_path: Path
) -> None:
    [code] = [block.text for block in BLOCKS if block.text.startswith(ASKED)]
    # The smoke study's model knows the digits 0 to 4 and the modulus 3.
    for told, here in (
        ("results/quick/pretrain/data_1/", f"{finished.results}/pretrain/data_5/"),
        ('"3 + 4 =(m) 5"', '"3 + 4 =(m) 3"'),
    ):
        assert told in code
        code = code.replace(told, here)
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    environment.pop("PYTHONPATH", None)
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.startswith("3 + 4 =(m) 3 ")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_is_named_within_sentences_is_there(page: Path, snakemake_options: set[str]) -> None:
    """Targets of make, scripts, and options of Snakemake and our own command in inline code."""
    own = (ROOT / "workflow/scripts/gpt_math_domains/__main__.py").read_text()
    options = snakemake_options | set(re.findall(r'"(--[a-z]+)"', own))
    targets = set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE))
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    for span in re.findall(r"`([^`]+)`", text):
        words = shlex.split(span.replace("\n", " "), comments=False) if "'" not in span else []
        if words[:1] == ["make"]:
            assert {word for word in words[1:] if "=" not in word} <= targets, span
        elif words[:1] == ["python"]:
            assert (ROOT / words[1]).is_file(), span
        elif words and (words[0] == "snakemake" or words[0].startswith("--")):
            assert {word for word in words if word.startswith("--")} <= options, span


@pytest.fixture(scope="module")
def snakemake_options(untouched: Repository) -> set[str]:
    """The options that `snakemake --help` tells, those of its plugins too."""
    return set(re.findall(r"--[a-z][a-z-]*", untouched.snakemake("--help", smoke=False).stdout))


def test_the_diagram_has_the_arrows_that_snakemake_draws(untouched: Repository) -> None:
    """But for those that follow from others; rules of figures are one, with what they share."""

    def merged(rule: str) -> str:
        one = rule == "copy_plotly" or (rule.startswith("plot_") and rule != "plot_timeline")
        return "plot_figures" if one else rule

    [diagram] = [block.text for block in BLOCKS if block.language == "mermaid"]
    drawn = untouched.snakemake("--rulegraph", "mermaid-js", smoke=False)
    assert drawn.returncode == 0, drawn.stdout
    arrows = {(merged(first), merged(second)) for first, second in read_graph(drawn.stdout)}
    between = sorted((first, second) for first, second in arrows if first != second)
    assert sorted(read_graph(diagram)) == sorted(reduced(between))


def anchors(page: Path) -> set[str]:
    """Return the names of a page's headings, as forges make them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere_in_the_repository(page: Path) -> None:
    for link in re.findall(r"\]\(([^)]+)\)", page.read_text(encoding="utf-8")):
        if link.startswith("https://"):
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_the_readmes_equations_have_the_labels_that_it_tells(tmp_path: Path) -> None:
    names = ("train", "valid", "vocabulary", "manifest")
    files = {name: tmp_path / name for name in names}
    published = list(LABELS)[:6]
    labelled = {
        f"labelled_{name}": tmp_path / f"labelled_{name}" for name in ("train", "valid", "manifest")
    }
    generate_equations(DataSettings(10, 5), **files)
    label_domains(published, **files, **labelled)
    told = re.findall(r"^\| `([^`]+=[^`]+)` \|.*\| (`.*`) \|$", PAGES[0].read_text(), re.MULTILINE)
    assert len(told) == 3
    lines = [
        (equation.partition(",")[0], labels.split(",")[1:])
        for name in ("train", "valid")
        for equation, labels in zip(
            files[name].read_text().splitlines()[1:],
            labelled[f"labelled_{name}"].read_text().splitlines()[1:],
            strict=True,
        )
    ]
    answers = dict(lines)
    for equation, labels in told:
        held = [
            label for label, yes in zip(published, answers[equation], strict=True) if yes == "1"
        ]
        assert re.findall(r"`(\w+)`", labels) == held


def test_the_workflow_catalog_finds_what_its_standardized_usage_asks_for() -> None:
    usage = yaml.safe_load((ROOT / ".snakemake-workflow-catalog.yml").read_text())["usage"]
    assert usage.keys() == {"mandatory-flags", "software-stack-deployment"}
    kinds = {"conda", "apptainer", "apptainer+conda", "report"}
    assert usage["software-stack-deployment"].keys() == kinds
    for path in ("workflow/Snakefile", "config/README.md", "workflow/rules/common.smk"):
        assert (ROOT / path).is_file()
    assert re.search("snakemake workflow", PAGES[0].read_text(), re.IGNORECASE)


def test_there_is_one_version_with_one_date() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    changes = (ROOT / "CHANGELOG.md").read_text()
    newest = re.findall(r"^## \[(\d[\d.]*)\] - (\S+)$", changes, re.MULTILINE)[0]
    assert newest == (version, str(cited["date-released"]))
    assert cited["version"] == version
