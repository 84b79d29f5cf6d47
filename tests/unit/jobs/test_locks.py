"""A lock ends with its owner."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gpt_math_domains.jobs.locks import exclusive
from gpt_math_domains.study.locks import clear_stale_locks

SCRIPTS = Path(__file__).parents[3] / "workflow" / "scripts"


IMPORTS = """
from pathlib import Path
from gpt_math_domains.jobs.locks import exclusive
from gpt_math_domains.study.locks import clear_stale_locks
"""


def hold(code: str, directory: Path) -> "subprocess.Popen[str]":
    """Start a process that takes a lock, says so and waits."""
    process = subprocess.Popen(
        [sys.executable, "-c", IMPORTS + code],
        cwd=directory,
        env=os.environ | {"PYTHONPATH": str(SCRIPTS)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


OTHER_JOB = """
with exclusive(Path("resume/lock"), 0, print):
    print("held", flush=True)
    input()
"""
OTHER_SNAKEMAKE = """
held = clear_stale_locks(Path(".snakemake"))
print("held", flush=True)
input()
"""


def test_a_lock_leaves_nothing_behind(tmp_path: Path) -> None:
    with exclusive(tmp_path / "resume" / "lock", 0, print):
        assert (tmp_path / "resume" / "lock").read_text() == str(os.getpid())
    assert list(tmp_path.iterdir()) == []


def test_a_directory_with_something_in_it_stays(tmp_path: Path) -> None:
    with exclusive(tmp_path / "resume" / "lock", 0, print):
        (tmp_path / "resume" / "state").touch()
    assert [path.name for path in (tmp_path / "resume").iterdir()] == ["state"]


def test_a_lock_that_another_process_holds_is_refused_in_one_line_that_names_it(
    tmp_path: Path,
) -> None:
    other = hold(OTHER_JOB, tmp_path)
    waited: list[str] = []
    with (
        pytest.raises(BlockingIOError) as caught,
        exclusive(tmp_path / "resume" / "lock", 0.3, waited.append),
    ):
        pass
    assert str(caught.value) == (
        f"{tmp_path / 'resume'}: process {other.pid} trains this run already"
    )
    assert set(waited) == {str(other.pid)}
    other.communicate("")


@pytest.mark.parametrize("end", ["returns", "is killed"])
def test_a_lock_is_free_once_its_owner_ended(tmp_path: Path, end: str) -> None:
    other = hold(OTHER_JOB, tmp_path)

    def end_it(owner: str) -> None:
        if end == "is killed":
            other.kill()
        other.communicate("")

    with exclusive(tmp_path / "resume" / "lock", 30, end_it):
        assert (tmp_path / "resume" / "lock").read_text() == str(os.getpid())


@pytest.fixture
def locked(tmp_path: Path) -> Path:
    """A directory that a killed Snakemake left locked."""
    (tmp_path / ".snakemake" / "locks").mkdir(parents=True)
    (tmp_path / ".snakemake" / "locks" / "0.output.lock").touch()
    return tmp_path


def test_what_a_killed_snakemake_left_locked_is_freed(locked: Path) -> None:
    first = hold(OTHER_SNAKEMAKE, locked)
    assert not (locked / ".snakemake" / "locks").exists()
    first.kill()
    first.communicate()
    (locked / ".snakemake" / "locks").mkdir()
    held = clear_stale_locks(locked / ".snakemake")
    assert held
    held.close()
    assert not (locked / ".snakemake" / "locks").exists()


def test_what_a_living_snakemake_locked_stays_locked(tmp_path: Path) -> None:
    other = hold(OTHER_SNAKEMAKE, tmp_path)
    (tmp_path / ".snakemake" / "locks").mkdir()
    held = clear_stale_locks(tmp_path / ".snakemake")
    assert held
    held.close()
    assert (tmp_path / ".snakemake" / "locks").exists()
    other.communicate("")


def test_where_locks_cannot_be_written_nothing_is_freed(tmp_path: Path) -> None:
    (tmp_path / ".snakemake").write_text("no directory")
    assert clear_stale_locks(tmp_path / ".snakemake") is None
