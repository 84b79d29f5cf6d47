"""Each environment is solved, linked and used by the rules that name it.

`make test-conda` runs this: it needs patchelf, Chromium, 4 GB of disk and some minutes. Packages
come from a channel made of what pip installed here, so versions and names are tested, and conda-
forge's own builds are not.
"""

import asyncio
import json
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import rattler
import yaml
from rattler.exceptions import SolverError

from channel import LIBRARY, PIP_NAMES, make_channel
from study import ROOT, Repository, copy_of_this_repository

ENVIRONMENTS = {
    path.stem: yaml.safe_load(path.read_text()) for path in sorted((ROOT / "envs").glob("*.yaml"))
}
TARGETS = ("results/smoke/images/pretrain_4.svg",)
# A script of each environment, and what its process imports, by the names of conda.
SCRIPTS = {
    "generate_equations": ("data", {"numpy"}),
    "pretrain_model": ("train-cpu", {"numpy", "pandas", "pytorch", "safetensors", "tokenizers"}),
    "plot_curves": ("figures", {"numpy", "pandas", "plotly"}),
    "export_image": ("images", {"plotly", "python-kaleido"}),
}
# Has each Python process tell at its end where it and its packages came from.
WITNESS = """\
import atexit, json, os, sys


def tell():
    origins = {name: getattr(m, "__file__", None) for name, m in list(sys.modules.items())}
    told = {"script": sys.argv[0], "prefix": sys.prefix, "origins": origins}
    with open(f"{os.environ['WITNESSES']}/{os.getpid()}.json", "w") as file:
        json.dump(told, file)


if "WITNESSES" in os.environ:
    atexit.register(tell)
"""


@dataclass(frozen=True)
class Deployed:
    """A repository whose rules ran in their environments."""

    repository: Repository
    environments: Mapping[str, Path]
    witnesses: list[dict[str, Any]]
    said: str
    variables: Mapping[str, str]
    options: tuple[str, ...]


@pytest.fixture(scope="session")
def channel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A channel that has what the environments ask for."""
    directory = tmp_path_factory.mktemp("channel") / "local"
    asked = {
        rattler.MatchSpec(spec).name.normalized
        for environment in ENVIRONMENTS.values()
        for spec in environment["dependencies"]
    }
    yield make_channel(directory, sorted(asked - {"python"}))
    shutil.rmtree(directory)


@pytest.fixture(scope="session")
def deployed(channel: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    """A repository in which a figure and what it needs were made with `--sdm conda`."""
    directory = tmp_path_factory.mktemp("deployed")
    repository = copy_of_this_repository(directory / "repository")
    prefixes, witnesses = directory / "environments", directory / "witnesses"
    witnesses.mkdir()
    path = [str(Path(__file__).parent / "bin"), str(Path(sys.executable).parent)]
    variables = {
        "CONDA_TEST_CHANNEL": channel,
        "WITNESSES": str(witnesses),
        "PATH": os.pathsep.join([*path, os.environ["PATH"]]),
    }
    options = ("--cores", "2", "--sdm", "conda", "--conda-prefix", str(prefixes))

    made = repository.snakemake(
        *TARGETS, *options, "--conda-create-envs-only", environment=variables
    )
    assert made.returncode == 0, made.stdout
    environments = {}
    for prefix in prefixes.glob("*_"):
        [name] = [
            name
            for name, content in ENVIRONMENTS.items()
            if content == yaml.safe_load(prefix.with_name(f"{prefix.name}.yaml").read_text())
        ]
        environments[name] = prefix
        (prefix / LIBRARY / "site-packages" / "sitecustomize.py").write_text(WITNESS)
    ran = repository.snakemake(*TARGETS, *options, environment=variables)
    assert ran.returncode == 0, ran.stdout
    told = [json.loads(path.read_text()) for path in witnesses.iterdir()]
    yield Deployed(repository, environments, told, ran.stdout, variables, options)
    shutil.rmtree(directory)


def test_an_environment_is_made_for_each_file_that_a_rule_names(deployed: Deployed) -> None:
    assert deployed.environments.keys() == {name for name, _ in SCRIPTS.values()}


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_rule_runs_in_its_environment_with_the_packages_that_are_there(
    deployed: Deployed, script: str
) -> None:
    name, packages = SCRIPTS[script]
    prefix = deployed.environments[name]
    runs = [told for told in deployed.witnesses if told["script"].endswith(f".{script}.py")]
    assert runs, deployed.said
    for told in runs:
        assert Path(told["prefix"]) == prefix
        for package in packages:
            origin = told["origins"][PIP_NAMES.get(package, package)]
            assert Path(origin).is_relative_to(prefix), origin


@pytest.mark.parametrize("name", ["data", "train-cpu", "figures", "images"])
def test_an_environment_has_the_versions_of_its_file(deployed: Deployed, name: str) -> None:
    records = (deployed.environments[name] / "conda-meta").glob("*.json")
    linked = {record["name"]: record for record in map(json.loads, map(Path.read_text, records))}
    for text in ENVIRONMENTS[name]["dependencies"]:
        spec = rattler.MatchSpec(text)
        record = linked[spec.name.normalized]
        assert f"=={record['version']}" == str(spec.version)


def test_then_there_is_nothing_to_do(deployed: Deployed) -> None:
    again = deployed.repository.snakemake(
        *TARGETS, *deployed.options, environment=deployed.variables
    )
    assert "Nothing to be done" in again.stdout


def solved(channel: str, name: str) -> dict[str, str]:
    """Return the builds that an environment gets, by package."""
    specs = [rattler.MatchSpec(spec) for spec in ENVIRONMENTS[name]["dependencies"]]
    records = asyncio.run(rattler.solve([channel], specs, platforms=["linux-64", "noarch"]))
    return {record.name.normalized: str(record.build) for record in records}


@pytest.mark.parametrize("name", ["train", "train-cpu"])
def test_where_there_is_a_cpu_build_of_pytorch_it_is_taken(channel: str, name: str) -> None:
    assert solved(channel, name)["pytorch"] == "cpu_0"


def test_a_cpu_build_of_pytorch_is_not_taken_for_one_with_cuda(channel: str) -> None:
    with pytest.raises(SolverError, match=r"No candidates .* pytorch"):
        solved(channel, "train-cuda")
