"""The command as a shell runs it: without a clone, and into a pipe that nobody reads."""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import pytest

from finished_study import PRETRAINED, write_study

ROOT = Path(__file__).parents[2]
PACKAGES = ROOT / "workflow" / "scripts"


def command(
    *arguments: str,
    cwd: Path,
    packages: Path = PACKAGES,
    stdout: int | IO[str] = subprocess.PIPE,
    stderr: int = subprocess.PIPE,
) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "PYTHONPATH": str(packages), "BROWSER": "true"}
    return subprocess.run(
        [sys.executable, "-m", "gpt_math_domains", *arguments],
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=stderr,
        text=True,
    )


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the package alone."""
    directory = tmp_path_factory.mktemp("installed")
    shutil.copytree(PACKAGES / "gpt_math_domains", directory / "gpt_math_domains")
    return directory


@pytest.mark.parametrize("name", ["open", "tell", "watch"])
def test_away_from_a_clone_an_installed_command_says_where_it_is_run(
    installed: Path, tmp_path: Path, name: str
) -> None:
    ran = command(name, cwd=tmp_path, packages=installed)
    assert (ran.returncode, ran.stdout, ran.stderr) == (
        2,
        "",
        "error: config: config/config.yaml: no such file; run this in a clone of the repository, "
        "or where there is one\n",
    )


@pytest.mark.parametrize("name", ["open", "tell"])
def test_in_a_clone_an_installed_command_reads_its_configuration(
    installed: Path, tmp_path: Path, name: str
) -> None:
    shutil.copytree(ROOT / "config", tmp_path / "config")
    ran = command(name, "config/quick.yaml", cwd=tmp_path, packages=installed)
    told = "error: results/quick/index.html: is not there; `make run` with this CONFIG makes it\n"
    assert (ran.returncode, ran.stdout, ran.stderr) == (2, "", told)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone's directory with a finished study, as far as the commands read it."""
    directory = tmp_path_factory.mktemp("study")
    write_study(directory / "mine")
    (directory / "mine" / "index.html").touch()
    (directory / "mine.yaml").write_text("pathvars: {results: mine}\n")
    return directory


COMMANDS = [
    ["--help"],
    ["ask", "--help"],
    ["ask", f"mine/{PRETRAINED}", "2 + 1 ="],
    ["cards", "mine"],
    ["compare", "mine", "mine"],
    ["open", "mine.yaml"],
]


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_a_pipe_that_nobody_reads_ends_a_command_without_a_word(
    study: Path, arguments: Sequence[str]
) -> None:
    assert command(*arguments, cwd=study).returncode == 0
    read, write = os.pipe()
    os.close(read)
    try:
        ran = command(*arguments, cwd=study, stdout=write)
        assert ran.returncode in (0, 141)
        assert ran.stderr == ""
    finally:
        os.close(write)


def test_a_mistake_has_its_status_though_nobody_reads_what_it_is(study: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    try:
        assert command("compare", "mine", "nowhere", cwd=study, stderr=write).returncode == 2
    finally:
        os.close(write)


def test_a_full_disk_is_told_in_one_line(study: Path) -> None:
    with open("/dev/full", "w") as full:
        ran = command("compare", "mine", "mine", cwd=study, stdout=full)
    assert (ran.returncode, ran.stderr) == (2, "error: [Errno 28] No space left on device\n")
