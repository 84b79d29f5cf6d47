"""Code that a training generates comes from nobody else, and is compiled once."""

import getpass
import os
import shutil
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from gpt_math_domains.jobs.caches import PLACES
from training_job import SCRIPTS, finish, log_of, outputs, prepare, start

SECONDS = 3000  # a cold compilation on a busy machine takes minutes
needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")


@dataclass(frozen=True)
class Place:
    """Where trainings are compiled: a compiler that tells what it is asked for, and packages.

    The packages are in a directory whose name is hard to quote, as where `.venv` is in one.
    """

    root: Path

    @property
    def asked(self) -> Path:
        """What the compiler was asked for."""
        return self.root / "g++.log"

    @property
    def home(self) -> Path:
        """The home directory of who compiled first."""
        return self.root / "home"

    @property
    def cache(self) -> Path:
        """Where the code of that home is."""
        [cache] = (self.home / ".cache" / "gpt-math-domains").iterdir()
        return cache

    def start(self, directory: Path, home: Path) -> "subprocess.Popen[str]":
        """Start a compiled training with a home and a /tmp."""
        packages = self.root / "mit leer, 'und' $mehr" / "packages"
        if not packages.exists():
            packages.parent.mkdir()
            packages.symlink_to(Path(torch.__file__).parents[1])
            compiler = self.root / "g++"
            compiler.write_text(
                f'#!/bin/sh\necho "$@" >> "{self.asked}"\nexec {shutil.which("g++")} "$@"\n'
            )
            compiler.chmod(0o755)
        (home / "tmp").mkdir(parents=True, exist_ok=True)
        self.asked.unlink(missing_ok=True)
        variables = {
            **dict.fromkeys(PLACES, ""),
            "HOME": str(home),
            "TMPDIR": str(home / "tmp"),
            "CXX": str(self.root / "g++"),
            "PYTHONPATH": f"{packages}{os.pathsep}{SCRIPTS}",
        }
        prepare(directory)
        return start(directory, save_seconds=1000, execution="compiled", variables=variables)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A place where one training was compiled, while another user held PyTorch's name in /tmp."""
    place = Place(tmp_path_factory.mktemp("compiled"))
    held(place.home).mkdir(parents=True)
    said = finish(place.start(place.root / "cold", place.home), SECONDS)
    assert "executor compiled" in log_of(place.root / "cold"), said
    assert ".cpp" in place.asked.read_text()
    return place


def held(home: Path) -> Path:
    """Return the directory where PyTorch itself would keep code."""
    return home / "tmp" / f"torchinductor_{getpass.getuser()}"


def plant(cache: Path, marker: Path) -> None:
    """Turn all that a training would load from a directory into something that leaves a mark."""
    code = f'__attribute__((constructor)) static void f() {{ fopen("{marker}", "w"); }}\n'
    evil = cache / "evil.so"
    subprocess.run(
        ["g++", "-shared", "-fPIC", "-include", "cstdio", "-x", "c++", "-", "-o", str(evil)],
        input=code,
        text=True,
        check=True,
    )
    unpickled = f"cposix\nsystem\n(S'touch {marker}'\ntR.".encode()
    for path in [path for path in cache.rglob("*") if path.is_file() and path != evil]:
        if path.suffix == ".so":
            shutil.copy(evil, path)
        elif {"fxgraph", "aotautograd"} & set(path.parts):
            path.write_bytes(unpickled)


def contents(directory: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file()
    }


@needs_compiler
def test_compiled_code_is_kept_where_nobody_else_can_write_and_nowhere_else(place: Place) -> None:
    """In a directory with a space in its name, too, a training is compiled."""
    assert stat.S_IMODE(place.cache.stat().st_mode) == 0o700
    assert list((place.home / "tmp").iterdir()) == [held(place.home)]
    assert list(held(place.home).iterdir()) == []


@needs_compiler
def test_the_next_job_compiles_nothing_and_takes_the_same_steps_to_the_bit(
    place: Place, tmp_path: Path
) -> None:
    finish(place.start(tmp_path, place.home), SECONDS)
    assert "executor compiled" in log_of(tmp_path)
    assert not place.asked.exists() or ".cpp" not in place.asked.read_text()
    assert outputs(tmp_path) == outputs(place.root / "cold")


@needs_compiler
def test_what_others_planted_does_not_run(place: Place, tmp_path: Path) -> None:
    marker = tmp_path / "planted_code_ran"
    evil = tmp_path / "evil" / ".cache" / "gpt-math-domains" / place.cache.name
    shutil.copytree(place.cache, evil)
    evil.chmod(0o700)
    plant(evil, marker)
    # It would run, had it been put where the job trusts it.
    place.start(tmp_path / "robbed", tmp_path / "evil").communicate(timeout=SECONDS)
    assert marker.exists()
    marker.unlink()

    victim = tmp_path / "victim"
    shutil.copytree(place.home / ".cache", victim / ".cache")
    shutil.copytree(evil / "inductor", held(victim))
    before = contents(held(victim))
    finish(place.start(tmp_path / "safe", victim), SECONDS)
    assert "executor compiled" in log_of(tmp_path / "safe")
    assert not marker.exists()
    assert contents(held(victim)) == before
    assert outputs(tmp_path / "safe") == outputs(place.root / "cold")


def test_a_cache_directory_that_cannot_be_had_ends_no_training(tmp_path: Path) -> None:
    variables = {"TORCHINDUCTOR_CACHE_DIR": "/dev/null/nope", "HOME": "/dev/null"}
    said = finish(start(prepare(tmp_path), save_seconds=1000, variables=variables))
    [line] = [line for line in said.splitlines() if "generated code" in line]
    assert "/dev/null/nope" in line
    assert "keeps generated code in " in log_of(tmp_path)


@needs_compiler
def test_why_nothing_can_be_compiled_is_told_in_a_line_and_in_full_in_the_log(
    tmp_path: Path,
) -> None:
    compiler = tmp_path / "g++"
    complaint = "cc1plus: fatal error: no input files of this kind"
    compiler.write_text(
        f'#!/bin/sh\ncase "$*" in *.cpp*|*.hpp*) echo "{complaint}" >&2; exit 1; esac\n'
        f'exec {shutil.which("g++")} "$@"\n'
    )
    compiler.chmod(0o755)
    variables = {"CXX": str(compiler), "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache")}
    job = start(
        prepare(tmp_path / "job"), save_seconds=1000, execution="compiled", variables=variables
    )
    said = finish(job, SECONDS)
    [line] = [line for line in said.splitlines() if "torch.compile failed" in line]
    assert line.endswith(
        f"torch.compile failed, the steps are carried out eagerly: CppCompileError: {complaint}"
    )
    assert "Traceback (most recent call last)" not in said
    assert "Traceback (most recent call last)" in log_of(tmp_path / "job")
    assert str(compiler) in log_of(tmp_path / "job")
