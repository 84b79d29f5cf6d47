"""A run's record tells what it was made with, wherever the project lies."""

import hashlib
import json
import os
import platform
import subprocess
from datetime import datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from gpt_math_domains.jobs.record import Record, cpu_name, git_state


@pytest.fixture
def somewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory in no repository, where git works without a person's settings."""
    for name in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{name}_NAME", "A")
        monkeypatch.setenv(f"GIT_{name}_EMAIL", "a@example.org")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    (tmp_path / "module.py").write_text("x = 1\n")
    return tmp_path


def git(directory: Path, *arguments: str) -> str:
    ran = subprocess.run(
        ["git", *arguments], cwd=directory, check=True, capture_output=True, text=True
    )
    return ran.stdout.strip()


def commit(directory: Path) -> str:
    """Put all files of a directory into a new repository; return the commit."""
    git(directory, "init", "--quiet")
    git(directory, "add", ".")
    git(directory, "commit", "--quiet", "--message", "All")
    return git(directory, "rev-parse", "HEAD")


def written(directory: Path, **facts: Any) -> dict[str, Any]:
    (directory / "train.csv").write_text("abc")
    record = Record(directory / "run.json", [directory / "train.csv"], "0123456789abcdef")
    record.write(**facts)
    return dict(json.loads((directory / "run.json").read_text(encoding="utf-8")))


def test_a_record_tells_inputs_code_versions_and_what_it_is_told(tmp_path: Path) -> None:
    record = written(tmp_path, run={"phase": "pretrain"}, device="größe")
    assert record["inputs"] == {str(tmp_path / "train.csv"): hashlib.sha256(b"abc").hexdigest()}
    assert record["code"] == "0123456789abcdef"
    assert record["versions"] == {
        "python": platform.python_version(),
        "torch": version("torch"),
        "numpy": version("numpy"),
    }
    assert (record["run"], record["device"], record["resumes"]) == (
        {"phase": "pretrain"},
        "größe",
        0,
    )


def test_a_record_tells_when_the_job_ran(tmp_path: Path) -> None:
    record = written(tmp_path, resumes=2)
    started, ended = (datetime.fromisoformat(record[key]) for key in ("started", "ended"))
    assert started.utcoffset() == ended.utcoffset() == timedelta(0)
    assert started <= ended
    assert 0 <= record["seconds"] < 3600
    assert record["resumes"] == 2


def test_the_keys_of_a_record_are_sorted(tmp_path: Path) -> None:
    written(tmp_path, zebra={"b": 1, "a": 2}, apple=1)
    text = (tmp_path / "run.json").read_text(encoding="utf-8")
    assert text == json.dumps(json.loads(text), indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def test_what_json_cannot_say_leaves_no_record(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        written(tmp_path, seconds_left=float("nan"))
    assert not (tmp_path / "run.json").exists()


def test_a_missing_input_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"lost\.csv"):
        Record(tmp_path / "run.json", [tmp_path / "lost.csv"], "")


def test_a_clean_repository_has_its_commit(somewhere: Path) -> None:
    head = commit(somewhere)
    (somewhere / "untracked.txt").write_text("new")
    assert git_state(somewhere / "module.py") == {"commit": head, "dirty": False}


def test_a_changed_file_makes_the_repository_dirty(somewhere: Path) -> None:
    (somewhere / "other").mkdir()
    (somewhere / "other" / "größe.txt").write_text("1")
    head = commit(somewhere)
    (somewhere / "other" / "größe.txt").write_text("2")
    assert git_state(somewhere / "module.py") == {"commit": head, "dirty": True}


def test_outside_a_repository_there_is_no_commit(somewhere: Path) -> None:
    assert git_state(somewhere / "module.py") is None


def test_a_repository_around_that_does_not_track_the_project_is_not_its_own(
    somewhere: Path,
) -> None:
    commit(somewhere)
    (somewhere / "unpacked").mkdir()
    (somewhere / "unpacked" / "module.py").write_text("x = 1\n")
    assert git_state(somewhere / "unpacked" / "module.py") is None


def test_what_was_fetched_from_a_forge_says_what_it_is(somewhere: Path) -> None:
    commit(somewhere)
    told = {"commit": "f" * 40, "dirty": False, "reference": "v1", "repository": "https://a/b/c"}
    (somewhere / "fetched.json").write_text(json.dumps(told))
    assert git_state(somewhere / "module.py") == told


def test_a_repository_without_a_commit_has_none(somewhere: Path) -> None:
    git(somewhere, "init", "--quiet")
    git(somewhere, "add", "module.py")
    assert git_state(somewhere / "module.py") is None


def test_a_hook_of_another_repository_does_not_lend_its_commit(
    somewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = commit(somewhere)
    (somewhere / "other").mkdir()
    (somewhere / "other" / "module.py").write_text("")
    commit(somewhere / "other")
    monkeypatch.setenv("GIT_DIR", str(somewhere / "other" / ".git"))
    assert git_state(somewhere / "module.py") == {"commit": head, "dirty": False}


def test_a_clone_that_belongs_to_another_user_has_its_commit(
    somewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = commit(somewhere)
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    with pytest.raises(subprocess.CalledProcessError):  # what git says by itself
        git(somewhere, "rev-parse", "HEAD")
    assert git_state(somewhere / "module.py") == {"commit": head, "dirty": False}


def test_a_clone_that_belongs_to_another_user_runs_no_program_of_its_settings(
    somewhere: Path,
) -> None:
    commit(somewhere)
    monitor = somewhere / "monitor"
    monitor.write_text(f"#!/bin/sh\ntouch {somewhere}/ran\n")
    monitor.chmod(0o755)
    git(somewhere, "config", "core.fsmonitor", str(monitor))
    assert git_state(somewhere / "module.py")
    assert not (somewhere / "ran").exists()


def test_without_git_there_is_no_commit(somewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commit(somewhere)
    monkeypatch.setenv("PATH", str(somewhere))
    assert git_state(somewhere / "module.py") is None


def test_the_processor_has_a_name() -> None:
    assert cpu_name().strip() == cpu_name() != ""
