"""The package as `pip install .` puts it into an environment that has its libraries."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from checkpoints import RUN, STUDY, rows


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory into which the wheel was installed, without a network."""
    directory = tmp_path_factory.mktemp("installed")
    [wheel] = (STUDY / "wheel").glob("*.whl")
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps")
    subprocess.run([*pip, "--target", directory, wheel], check=True)
    return directory


def run(installed: Path, *command: str | Path) -> str:
    """Run a command away from the repository with the installed package; return what it says."""
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    ran = subprocess.run(command, cwd=installed, env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_the_installed_command_asks_a_model_from_anywhere(installed: Path) -> None:
    command = installed / "bin" / "gpt-math-domains"
    [told] = json.loads(run(installed, command, "ask", STUDY.resolve() / RUN, "1+2=(m)3", "--json"))
    key = {"operation": "add", "modulo": "3", "a": "1", "b": "2"}
    table = [r for r in rows(STUDY / RUN / "answers.csv") if key.items() <= r.items()]
    assert told["split"] == table[0]["split"]
    for row, seed in zip(table, told["seeds"], strict=True):
        assert seed["answer"] == row["answer"]
        assert seed["probability"] == pytest.approx(float(row["probability"]), abs=1e-6)
        assert seed["right"] == (row["right"] == "1")


def test_the_package_is_imported_without_the_repository_and_brings_its_templates(
    installed: Path,
) -> None:
    code = "import gpt_math_domains; print(gpt_math_domains.__file__)"
    assert str(installed) in run(installed, sys.executable, "-c", code)
    package = installed / "gpt_math_domains"
    own = Path(__file__).parents[2] / "workflow" / "scripts" / "gpt_math_domains"
    suffixes = {".py", ".pyc"}
    files = {p.relative_to(own) for p in own.rglob("*.*") if p.suffix not in suffixes}
    assert len(files) > 5
    assert {file for file in files if not (package / file).is_file()} == set()
