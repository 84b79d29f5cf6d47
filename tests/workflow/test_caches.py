"""Code that a training generates comes from nobody else, and is compiled once."""

import getpass
import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from gpt_math_domains.jobs.caches import PLACES
from training_job import finish, log_of, outputs, prepare, start

SECONDS = 500  # a cold compilation on a busy machine


def start_at_home(directory: Path, home: Path, **variables: str) -> "subprocess.Popen[str]":
    """Start a training with another home and /tmp."""
    (home / "tmp").mkdir(parents=True, exist_ok=True)
    usual = dict.fromkeys(PLACES, "") | {"HOME": str(home), "TMPDIR": str(home / "tmp")}
    return start(
        prepare(directory), save_seconds=1000, execution="compiled", variables=usual | variables
    )


def train(directory: Path, home: Path, **variables: str) -> str:
    """Train to the end there; return what is said on the terminal."""
    return finish(start_at_home(directory, home, **variables), SECONDS)


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
        elif path.suffix in (".h", ".gch"):
            path.write_text(f'#error "{marker}"\n')


def contents(directory: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file()
    }


def compiler_that_tells(path: Path) -> Path:
    """Write a compiler that writes down what it is asked for, beside itself."""
    path.write_text(f'#!/bin/sh\necho "$@" >> {path}.log\nexec {shutil.which("g++")} "$@"\n')
    path.chmod(0o755)
    return path


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")
def test_compiled_code_is_kept_for_the_next_job_and_what_others_planted_does_not_run(
    tmp_path: Path,
) -> None:
    compiler = compiler_that_tells(tmp_path / "g++")
    asked = Path(f"{compiler}.log")
    home, marker = tmp_path / "home", tmp_path / "planted code ran"

    said = train(tmp_path / "cold", home, CXX=str(compiler))

    assert "executor compiled" in said
    assert ".cpp" in asked.read_text()
    assert list((home / "tmp").iterdir()) == []
    [cache] = (home / ".cache" / "gpt-math-domains").iterdir()
    assert stat.S_IMODE(cache.stat().st_mode) == 0o700

    # The next job compiles nothing, and takes the same steps to the bit.
    asked.unlink()
    train(tmp_path / "warm", home, CXX=str(compiler))
    assert not asked.exists() or ".cpp" not in asked.read_text()
    assert outputs(tmp_path / "warm") == outputs(tmp_path / "cold")

    # What is planted would run, had it been put where the job trusts it.
    trusting = tmp_path / "trusting"
    shutil.copytree(home / ".cache", trusting / ".cache")
    plant(trusting / ".cache" / "gpt-math-domains" / cache.name, marker)
    robbed = start_at_home(tmp_path / "robbed", trusting, CXX=str(compiler))
    robbed.communicate(timeout=SECONDS)
    assert marker.exists()
    marker.unlink()

    # Where PyTorch itself would look, and by a link where this project does.
    victim = tmp_path / "victim"
    planted = victim / "tmp" / f"torchinductor_{getpass.getuser()}"
    shutil.copytree(trusting / ".cache" / "gpt-math-domains" / cache.name / "inductor", planted)
    shutil.copytree(
        *(next(trusting.rglob("precompiled_headers")), planted / "precompiled_headers"),
    )
    (victim / ".cache" / "gpt-math-domains").mkdir(parents=True)
    (victim / ".cache" / "gpt-math-domains" / cache.name).symlink_to(
        trusting / ".cache" / "gpt-math-domains" / cache.name
    )
    before = contents(planted), contents(trusting)
    said = train(tmp_path / "safe", victim, CXX=str(compiler))
    assert "executor compiled" in said
    assert said.count("keeps generated code in ") == 1
    assert f"{cache.name}: is no directory" in said
    assert not marker.exists()
    assert (contents(planted), contents(trusting)) == before
    assert list((victim / "tmp").iterdir()) == [planted]
    assert outputs(tmp_path / "safe") == outputs(tmp_path / "warm")


def test_a_cache_directory_that_cannot_be_had_ends_no_training(tmp_path: Path) -> None:
    variables = {"TORCHINDUCTOR_CACHE_DIR": "/dev/null/nope", "HOME": "/dev/null"}
    said = finish(start(prepare(tmp_path), save_seconds=1000, variables=variables))
    [line] = [line for line in said.splitlines() if "generated code" in line]
    assert "/dev/null/nope" in line
    assert "keeps generated code in " in log_of(tmp_path)


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")
def test_a_directory_with_a_space_is_compiled_in_too(tmp_path: Path) -> None:
    """Of the packages, the data and the job; as where `.venv` is in such a directory."""
    import torch

    packages = tmp_path / "mit leer, 'und' $mehr" / "packages"
    packages.parent.mkdir()
    packages.symlink_to(Path(torch.__file__).parents[1])
    scripts = Path(__file__).parents[2] / "workflow" / "scripts"
    job = start(
        prepare(packages.parent / "data"),
        save_seconds=1000,
        execution="compiled",
        variables={"PYTHONPATH": f"{packages}{os.pathsep}{scripts}"},
    )
    said = finish(job, SECONDS)
    assert "executor compiled" in said, log_of(packages.parent / "data")


def test_why_nothing_can_be_compiled_is_told_in_a_line_and_in_full_in_the_log(
    tmp_path: Path,
) -> None:
    compiler = tmp_path / "g++"
    complaint = "cc1plus: fatal error: no input files of this kind"
    compiler.write_text(f'#!/bin/sh\necho "{complaint}" >&2\nexit 1\n')
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
    assert "-shared" in log_of(tmp_path / "job")
