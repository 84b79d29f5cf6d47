"""Generated code is kept where nobody else can put something in its place."""

import os
import platform
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from gpt_math_domains.jobs import record
from gpt_math_domains.jobs.caches import CHOSEN, PLACES, private_caches


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home directory, and nothing else that says where to keep something."""
    for name in PLACES:
        monkeypatch.delenv(name, raising=False)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    return home


def used() -> tuple[Path, list[str]]:
    """Return the directory that a job uses, and what it says."""
    notes: list[str] = []
    with private_caches(notes.append) as directory:
        assert directory.is_dir()
    return directory, notes


def test_the_directory_is_this_users_alone_and_the_next_job_finds_it_again(home: Path) -> None:
    with private_caches(print) as directory:
        (directory / "code").touch()
    assert directory.parent == home / ".cache" / "gpt-math-domains"
    assert stat.S_IMODE(directory.lstat().st_mode) == 0o700
    assert used() == (directory, [])
    assert (directory / "code").exists()


@pytest.mark.parametrize("mask", [0o000, 0o002])
def test_a_generous_umask_changes_nothing(home: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        directory, notes = used()
    finally:
        os.umask(before)
    assert notes == []
    assert stat.S_IMODE(directory.lstat().st_mode) == 0o700


def test_all_that_libraries_keep_goes_there_and_back_afterwards(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRITON_CACHE_DIR", "/elsewhere")
    before, temporary = dict(os.environ), tempfile.gettempdir()
    with private_caches(print) as directory:
        assert all(Path(os.environ[name]).is_relative_to(directory) for name in PLACES)
        assert tempfile.gettempdir() == str(directory)
    assert dict(os.environ) == before
    assert tempfile.gettempdir() == temporary


def test_another_processor_or_version_has_a_directory_of_its_own(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, _ = used()
    told = record._told_of_cpu

    def poorer(key: str) -> str:
        return told(key).replace("avx2", "")

    monkeypatch.setattr(record, "_told_of_cpu", poorer)
    other, _ = used()
    assert other.parent == here.parent
    if "avx2" in told("flags"):
        assert other != here
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    assert used()[0] not in (here, other)
    monkeypatch.setattr("gpt_math_domains.jobs.caches.version", lambda name: "99.0")
    assert "torch-99.0-" in used()[0].name


@pytest.mark.parametrize("variable", [CHOSEN, "XDG_CACHE_HOME"])
def test_another_place_can_be_chosen(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, str(tmp_path / "fast"))
    directory, notes = used()
    assert directory.is_relative_to(tmp_path / "fast")
    assert notes == []


def link_elsewhere(path: Path) -> None:
    (path.parents[3] / "planted").mkdir()
    path.symlink_to(path.parents[3] / "planted")


def be_a_file(path: Path) -> None:
    path.touch()


def let_the_group_write(path: Path) -> None:
    path.mkdir()
    path.chmod(0o770)


def let_all_write(path: Path) -> None:
    path.mkdir()
    path.chmod(0o707)


def let_all_write_above(path: Path) -> None:
    path.mkdir(mode=0o700)
    path.parent.chmod(0o777)


PLANTED = [link_elsewhere, be_a_file, let_the_group_write, let_all_write, let_all_write_above]


@pytest.mark.parametrize("plant", PLANTED)
def test_what_others_could_change_is_not_used_and_one_line_says_so(
    home: Path, plant: Callable[[Path], None]
) -> None:
    directory, _ = used()
    directory.rmdir()
    plant(directory)
    own, [note] = used()
    assert not own.is_relative_to(home)
    assert not own.exists()
    assert note.startswith(f"keeps generated code in {own}: {home}")
    assert "\n" not in note


def test_what_another_user_made_is_not_used(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory, _ = used()
    monkeypatch.setattr(os, "geteuid", lambda: directory.stat().st_uid + 1)
    own, [note] = used()
    assert own != directory
    assert note.endswith(f"{directory}: belongs to another user")


def test_what_is_chosen_and_cannot_be_had_is_told_and_the_users_own_is_used(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual, _ = used()
    monkeypatch.setenv(CHOSEN, "/dev/null/cache")
    directory, [note] = used()
    assert directory == usual
    assert note == (
        f"keeps generated code in {usual}: [Errno 20] Not a directory: '/dev/null/cache'"
    )


@pytest.mark.parametrize("name", ["mit leer", "it's", 'a"b', "a\\b", "two\nlines"])
def test_a_name_that_a_compiler_would_take_for_several_is_not_used(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    usual, _ = used()
    monkeypatch.setenv(CHOSEN, str(tmp_path / name))
    directory, [note] = used()
    assert directory == usual
    assert len(note.splitlines()) == 1


def test_a_home_that_nobody_knows_is_done_without(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/dev/null")
    directory, [note] = used()
    assert directory.parent == Path(tempfile.gettempdir())
    assert not directory.exists()
    assert "/dev/null" in note
