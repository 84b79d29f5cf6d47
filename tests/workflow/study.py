"""A copy of this repository in which tests run Snakemake."""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
SMOKE = "tests/workflow/smoke.yaml"
# What runs a command without a network, and one that may change what is mounted where.
NO_NETWORK = ("unshare", "--map-root-user", "--net")
OWN_MOUNTS = ("unshare", "--map-root-user", "--mount")


@dataclass(frozen=True)
class Repository:
    """A checked-out copy of this repository."""

    directory: Path

    @property
    def results(self) -> Path:
        """Where the smoke study's outputs are."""
        return self.directory / "results" / "smoke"

    @property
    def changes(self) -> Path:
        """Where changes to the configuration are written: beside the repository, not into it."""
        return self.directory.with_name(f"{self.directory.name}.yaml")

    def copy_to(self, directory: Path) -> "Repository":
        """Copy everything, results and Snakemake's records too, keeping modification times."""
        shutil.copytree(self.directory, directory)
        return Repository(directory)

    def snakemake(
        self,
        *arguments: str,
        smoke: bool = True,
        config: Mapping[str, Any] | None = None,
        environment: Mapping[str, str] | None = None,
        prefix: Sequence[str] = (),
    ) -> subprocess.CompletedProcess[str]:
        """Run Snakemake here to its end; stdout holds all it said.

        Args:
            arguments: options and targets.
            smoke: run the smoke study, else the published one.
            config: changes to the study's configuration, laid over it.
            environment: variables set besides those there are.
            prefix: of the command line, such as `NO_NETWORK`.
        """
        started = self.start_snakemake(
            *arguments, smoke=smoke, config=config, environment=environment, prefix=prefix
        )
        with started as process:
            try:
                said, _ = process.communicate(timeout=1800)
            except BaseException:
                process.kill()
                raise
        return subprocess.CompletedProcess(process.args, process.returncode, said)

    def start_snakemake(
        self,
        *arguments: str,
        smoke: bool = True,
        config: Mapping[str, Any] | None = None,
        environment: Mapping[str, str] | None = None,
        prefix: Sequence[str] = (),
        listener: int = subprocess.PIPE,
    ) -> subprocess.Popen[str]:
        """Start Snakemake in a process group of its own; arguments as in `snakemake`.

        What it says goes to the descriptor `listener`, or to a pipe that `communicate` reads.
        """
        overlays = [SMOKE] if smoke else []
        if config is not None:
            self.changes.write_text(yaml.safe_dump(dict(config)))
            overlays.append(str(self.changes))
        kept = {key: value for key, value in os.environ.items() if key != "SNAKEMAKE_PROFILE"}
        # Snakemake's plugin asks SLURM as it starts, and waits for a controller that is down.
        kept.setdefault("SLURM_CONF", os.devnull)
        return subprocess.Popen(
            [*prefix, sys.executable, "-m", "snakemake", *arguments]
            + (["--configfile", *overlays] if overlays else []),
            cwd=self.directory,
            env={**kept, **(environment or {})},
            stdout=listener,
            stderr=subprocess.STDOUT,
            text=True,
            pipesize=2**20,  # holds what is said until somebody reads it
            process_group=0,
            # A test may itself run where SIGINT is ignored, as in a shell's background.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler) and None,
        )

    def jobs_to_run(
        self, *arguments: str, smoke: bool = True, config: Mapping[str, Any] | None = None
    ) -> set[str]:
        """Return the jobs that Snakemake would run, such as `pretrain_model data=4 model=2`."""
        ran = self.snakemake("--dry-run", *arguments, smoke=smoke, config=config)
        assert ran.returncode == 0, ran.stdout
        return listed_jobs(ran.stdout)


def listed_jobs(output: str) -> set[str]:
    """Return the jobs that Snakemake lists, the target rule `all` left out.

    The point of the grid is named where there is one.
    Their number is checked against the total that Snakemake states itself.
    """
    blocks = re.findall(r"^(?:local)?rule (\w+):\n((?: {4}.*\n)*)", output, re.MULTILINE)
    total = re.search(r"^total +(\d+)$", output, re.MULTILINE)
    assert len(blocks) == (int(total[1]) if total else 0), output
    jobs = []
    for rule, details in blocks:
        wildcards = re.search(r"^    wildcards: (.*)$", details, re.MULTILINE)
        named = sorted(wildcards[1].split(", ")) if wildcards else []
        jobs.append(" ".join([rule, *(name for name in named if name != "point=")]))
    assert len(set(jobs)) == len(jobs), jobs
    return set(jobs) - {"all"}


def permitted(prefix: Sequence[str]) -> bool:
    """Tell whether this system lets us run a command with a prefix."""
    if shutil.which(prefix[0]) is None:
        return False
    return subprocess.run([*prefix, "true"], capture_output=True).returncode == 0


def copy_of_this_repository(directory: Path) -> Repository:
    """Copy what belongs to the repository: all but what git ignores."""
    ignored = {".git", *(ROOT / ".gitignore").read_text().splitlines()}
    anchored = {name.strip("/") for name in ignored if name.startswith("/")}

    def left_out(parent: str, names: list[str]) -> set[str]:
        here = anchored if Path(parent) == ROOT else set()
        return {
            name for name in names if name in here or not ignored.isdisjoint({name, f"{name}/"})
        }

    shutil.copytree(ROOT, directory, ignore=left_out)
    return Repository(directory)
