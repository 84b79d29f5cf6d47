"""Snakedeploy makes a workflow of its own of this one, as docs/module.md shows."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from forge import NAME, TAG, Forge
from study import copy_of_this_repository, listed_jobs

# Snakemake is among the project's packages, snakedeploy among those of the tools.
SNAKEMAKE = Path(".venv/bin/snakemake").absolute()
[SHOWN] = re.findall(r"^    snakedeploy (.*)$", Path("docs/module.md").read_text(), re.MULTILINE)


@pytest.fixture(scope="module")
def in_deployed(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """Run a command in what was deployed from a forge; return what it says."""
    directory = tmp_path_factory.mktemp("forge")
    forge = Forge(directory, copy_of_this_repository(directory / "published"))
    deployed = directory / "deployed"
    deployed.mkdir()

    def run(*command: str | Path) -> str:
        ran = subprocess.run(
            command,
            cwd=deployed,
            env=forge.environment | {"PATH": f"{SNAKEMAKE.parent}:/usr/bin:/bin"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert ran.returncode == 0, ran.stdout
        return ran.stdout

    told = SHOWN.replace("OWNER/gpt-math-domains", NAME).replace("TAG", TAG)
    run(Path(sys.executable).with_name("snakedeploy"), *told.split())
    return run


@pytest.mark.parametrize("options", [[], ["--configfile", "config/quick.yaml"]])
def test_what_is_deployed_would_run_the_jobs_of_a_clone(
    in_deployed: Callable[..., str], options: list[str]
) -> None:
    said = in_deployed(SNAKEMAKE, "--dry-run", *options)
    assert "Using workflow specific profile profiles/default" in said
    own = [SNAKEMAKE, "--dry-run", "--forceall", *options]
    in_clone = subprocess.run(own, capture_output=True, text=True, check=True)
    assert listed_jobs(said) == listed_jobs(in_clone.stdout)
