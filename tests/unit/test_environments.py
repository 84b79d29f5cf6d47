"""Every environment is pinned, they agree, and each rule's holds what its script imports."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import pytest
import rattler
import yaml

from gpt_math_domains.study.fingerprints import PACKAGE, imported_modules

ROOT = Path(__file__).parents[2]
ENVS = ROOT / "envs"
SCRIPTS = ROOT / "workflow" / "scripts"
ENVIRONMENTS = sorted(ENVS.glob("*.yaml"))
DEVICES = ("", "-cpu", "-cuda")  # `device: auto`, `cpu` and `cuda`
PIN = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*) ?==([0-9][0-9A-Za-z.]*)")
# Names on conda-forge of packages that Python imports by another name.
CONDA_NAMES = {
    "torch": "pytorch",
    "yaml": "pyyaml",
    "igraph": "python-igraph",
    "kaleido": "python-kaleido",
    "choreographer": "python-kaleido",  # which brings it
    "markupsafe": "jinja2",  # which brings it
}


class Rule(NamedTuple):
    name: str
    environments: list[Path]
    script: Path


def rules() -> Iterator[Rule]:
    """Yield each rule that runs a script."""
    for file in sorted((ROOT / "workflow" / "rules").glob("*.smk")):
        for text in re.split(r"^rule ", file.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
            found = re.findall(r'^    (conda|script):\n        f?"(.*)"$', text, re.M)
            paths = {key: (file.parent / path).resolve() for key, path in found}
            if "script" not in paths:
                continue
            # Training has an environment for each device.
            pattern = paths.get("conda", Path("none")).name.replace("{TRAIN_ENV}", "train*")
            environments = sorted(ENVS.glob(pattern))
            yield Rule(text.partition(":")[0], environments, paths["script"])


RULES = list(rules())


def normalized(name: str) -> str:
    """Return a name as package indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(lines: list[str]) -> dict[str, str]:
    """Return the versions of exact pins by package; any other line is an error."""
    found = {}
    for line in lines:
        pin = PIN.fullmatch(line)
        assert pin, f"{line!r} is no exact pin"
        assert normalized(pin[1]) not in found, f"{line!r} stands there twice"
        found[normalized(pin[1])] = pin[2]
    return found


def requirements(name: str) -> dict[str, str]:
    """Return the pins of a requirements file."""
    lines = (ROOT / "envs" / name).read_text(encoding="utf-8").splitlines()
    return pins([line for line in lines if line and not line.startswith("#")])


def environment(path: Path) -> dict[str, str]:
    """Return the pins of a conda environment, as conda's own tools read them."""
    specs = yaml.safe_load(path.read_text(encoding="utf-8"))["dependencies"]
    found = map(rattler.MatchSpec, specs)
    return pins([f"{spec.name.normalized} {spec.version}" for spec in found if spec.name])


def builds(path: Path) -> dict[str, str]:
    """Return the builds that a conda environment asks for, by package."""
    specs = yaml.safe_load(path.read_text(encoding="utf-8"))["dependencies"]
    found = map(rattler.MatchSpec, specs)
    return {spec.name.normalized: str(spec.build) for spec in found if spec.name and spec.build}


def third_party(path: Path) -> set[str]:
    """Return what a file imports from outside the standard library and this package."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
    return {name.split(".")[0] for name in names} - sys.stdlib_module_names - {PACKAGE.name}


def needed(script: Path) -> set[str]:
    """Return the conda packages that a script and its modules import."""
    files = [script, *(path for path in imported_modules(script) if path.suffix == ".py")]
    names = set().union(*map(third_party, files))
    return {CONDA_NAMES.get(name, name) for name in names}


@pytest.mark.parametrize("name", ["requirements", "developer", "tools", "tools-old", "jax"])
def test_a_lock_holds_what_was_asked_for_with_the_same_version(name: str) -> None:
    asked, locked = requirements(f"{name}.in"), requirements(f"{name}.lock")
    assert len(asked) > 2
    assert asked.items() <= locked.items()


def test_a_developers_packages_change_none_of_a_users() -> None:
    """No package is pinned twice, and what both locks pin is here and agrees."""
    user, developer = requirements("requirements.lock"), requirements("developer.lock")
    assert user.keys().isdisjoint(developer)
    # A build of PyTorch has its name behind its version.
    installed = {name: version(name).partition("+")[0] for name in user | developer}
    assert installed == user | developer
    checked = subprocess.run([sys.executable, "-m", "pip", "check"], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout


def test_tools_get_the_pytorch_of_a_study_and_two_versions_of_transformers() -> None:
    study, new, old = (
        requirements(f"{name}.lock") for name in ("requirements", "tools", "tools-old")
    )
    assert study["torch"] == new["torch"] == old["torch"]
    assert (new["transformers"][:2], old["transformers"][:2]) == ("5.", "4.")


def test_a_study_needs_a_users_packages_alone() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].keys()
    imported = set().union(*map(third_party, SCRIPTS.rglob("*.py"))) - extras
    pip_names = {"pydantic_core": "pydantic-core", "yaml": "pyyaml"}
    assert {pip_names.get(name, name) for name in imported} <= requirements(
        "requirements.lock"
    ).keys()


@pytest.mark.parametrize("path", ENVIRONMENTS, ids=lambda path: path.stem)
def test_every_environment_has_the_versions_of_the_lock(path: Path) -> None:
    locked = requirements("requirements.lock")
    packages = ("torch", "igraph", "kaleido")
    locked |= {CONDA_NAMES[package]: locked[package] for package in packages}
    found = environment(path)
    found.pop("python")
    assert found
    assert {name: locked.get(name) for name in found} == found


def test_every_environment_has_the_same_python_and_the_same_channels() -> None:
    pythons = {environment(path)["python"] for path in ENVIRONMENTS}
    channels = [yaml.safe_load(path.read_text())["channels"] for path in ENVIRONMENTS]
    assert len(pythons) == 1
    assert channels == [["conda-forge", "nodefaults"]] * len(ENVIRONMENTS)


def test_the_environments_of_training_differ_in_the_build_of_pytorch_alone() -> None:
    builds_of = {path.stem: builds(path) for path in ENVIRONMENTS}
    assert builds_of.pop("train-cpu") == {"pytorch": "cpu*"}
    assert builds_of.pop("train-cuda") == {"pytorch": "cuda*"}
    assert set(map(bool, builds_of.values())) == {False}
    assert len({frozenset(environment(ENVS / f"train{d}.yaml").items()) for d in DEVICES}) == 1


def test_every_script_belongs_to_a_rule() -> None:
    scripts = sorted(SCRIPTS.glob("*.py"))
    assert sorted({rule.script for rule in RULES}) == scripts


def test_every_rule_has_an_environment_but_the_one_that_asks_snakemake() -> None:
    assert [rule.name for rule in RULES if not rule.environments] == ["trace_rules"]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_a_rules_environment_holds_what_its_script_imports(rule: Rule) -> None:
    for path in rule.environments:
        assert needed(rule.script) <= environment(path).keys()


@pytest.mark.parametrize("path", ENVIRONMENTS, ids=lambda path: path.stem)
def test_an_environment_holds_nothing_that_no_script_imports(path: Path) -> None:
    scripts = [rule.script for rule in RULES if path in rule.environments]
    assert environment(path).keys() == {"python"}.union(*map(needed, scripts))


def test_the_package_asks_for_the_versions_that_studies_are_run_with() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = dict(dependency.split(">=") for dependency in project["dependencies"])
    studies = requirements("requirements.in")
    # Rules alone use the others: Snakemake's plugins, the diagram of the rules, and images.
    others = {"pygments", "snakemake-executor-plugin-slurm", "kaleido", "igraph"}
    assert asked == {name: studies[name] for name in studies.keys() - others}
