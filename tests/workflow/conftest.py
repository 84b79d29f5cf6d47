import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from study import NO_NETWORK, Repository, copy_of_this_repository, permitted
from training_job import finish, outputs, prepare, start


@pytest.fixture(scope="session")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """The repository as it is cloned, without results. Not to be changed."""
    return copy_of_this_repository(tmp_path_factory.mktemp("clone") / "repository")


@pytest.fixture(scope="session")
def finished(untouched: Repository, tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """A repository in which the smoke study has run. Not to be changed."""
    repository = untouched.copy_to(tmp_path_factory.mktemp("finished") / "repository")
    ran = repository.snakemake("--cores", "4")
    assert ran.returncode == 0, ran.stdout
    return repository


@pytest.fixture(scope="session")
def repeated(untouched: Repository, tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """The smoke study once more, with all that must not matter. Not to be changed.

    It ran on another number of cores, in a directory whose name is hard to quote and, where the
    system permits that, without a network.
    """
    directory = tmp_path_factory.mktemp("again") / "größe mit leer, 'und' $mehr"
    repository = untouched.copy_to(directory)
    prefix = NO_NETWORK if permitted(NO_NETWORK) else ()
    ran = repository.snakemake("--cores", "1", prefix=prefix)
    assert ran.returncode == 0, ran.stdout
    return repository


@pytest.fixture
def study(finished: Repository, tmp_path: Path) -> Iterator[Repository]:
    """A copy of the finished study, to be changed."""
    yield finished.copy_to(tmp_path / "repository")
    shutil.rmtree(tmp_path)


@pytest.fixture
def clone(untouched: Repository, tmp_path: Path) -> Iterator[Repository]:
    """A copy of the repository without results, to be changed."""
    yield untouched.copy_to(tmp_path / "repository")
    shutil.rmtree(tmp_path)


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """What a small training leaves that nobody stops and that saves at its end alone."""
    directory = prepare(tmp_path_factory.mktemp("undisturbed"))
    finish(start(directory, save_seconds=1000))
    return outputs(directory)
