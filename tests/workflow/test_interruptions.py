"""A study that is stopped in any way goes on by the same command, to the same bits."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from study import Repository
from training_job import outputs

RUN = "pretrain/data_4/model_2"
TARGET = f"results/smoke/{RUN}/metrics.csv"
# Some seconds of training.
LONG = {"overrides": [{"phase": "pretrain", "num_train_epochs": 600, "eval_steps": 500}]}
OFTEN = {"GPT_MATH_DOMAINS_SAVE_SECONDS": "0.1"}


@pytest.fixture(scope="module")
def whole(untouched: Repository, tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """What the run leaves that nobody stops."""
    repository = untouched.copy_to(tmp_path_factory.mktemp("whole") / "repository")
    ran = repository.snakemake("--cores", "1", TARGET, config=LONG)
    assert ran.returncode == 0, ran.stdout
    return outputs(repository.results / RUN)


def start(repository: Repository, *options: str) -> "subprocess.Popen[str]":
    return repository.start_snakemake(
        "--cores", "1", TARGET, *options, config=LONG, environment=OFTEN
    )


def wait_for_a_state(repository: Repository, more_than: int = 0) -> int:
    """Wait until the training has saved; return the number of its newest state."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        states = sorted((repository.results / RUN / "resume").glob("state_*"))
        if states and (number := int(states[-1].name[-6:])) > more_than:
            return number
        time.sleep(0.01)
    raise AssertionError("the training saved nothing")


def training(repository: Repository) -> int:
    """Return the number of the training's process."""
    return int((repository.results / RUN / "resume" / "lock").read_text())


def require_it_went_on(repository: Repository, said: str, whole: dict[str, object]) -> None:
    resumed = [int(step.replace(",", "")) for step in re.findall(r"resumed at step ([\d,]+)", said)]
    assert resumed, said
    assert min(resumed) > 0
    assert outputs(repository.results / RUN) == whole
    assert not (repository.results / RUN / "resume").exists()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_training_that_is_killed_goes_on_when_snakemake_retries_it(
    clone: Repository, whole: dict[str, object], number: signal.Signals
) -> None:
    process = start(clone, "--retries", "2")
    saved = 0
    for _ in range(2):
        saved = wait_for_a_state(clone, more_than=saved)
        killed = training(clone)
        os.kill(killed, number)
        while Path(f"/proc/{killed}").exists():
            time.sleep(0.01)
        saved = wait_for_a_state(clone)
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 0, said
    assert said.count("]  resumed at step") == 2  # failed logs are shown too
    require_it_went_on(clone, said, whole)


def interrupt_from_the_terminal(process: "subprocess.Popen[str]", repository: Repository) -> str:
    os.killpg(process.pid, signal.SIGINT)
    said, _ = process.communicate(timeout=60)
    assert "stopped by SIGINT: saved at step" in said
    return said


def kill_snakemake(process: "subprocess.Popen[str]", repository: Repository) -> str:
    job = training(repository)
    process.kill()
    process.wait()
    assert Path(f"/proc/{job}").exists()  # the training outlives it, for a moment
    return ""


def kill_everything(process: "subprocess.Popen[str]", repository: Repository) -> str:
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)
    return ""


def terminate_everything(process: "subprocess.Popen[str]", repository: Repository) -> str:
    os.killpg(process.pid, signal.SIGTERM)
    said, _ = process.communicate(timeout=60)
    assert "stopped by SIGTERM: saved at step" in said
    return said


@pytest.mark.parametrize(
    "stop", [interrupt_from_the_terminal, terminate_everything, kill_snakemake, kill_everything]
)
def test_a_stopped_study_goes_on_by_the_same_command(
    clone: Repository,
    whole: dict[str, object],
    stop: Callable[["subprocess.Popen[str]", Repository], str],
) -> None:
    process = start(clone)
    wait_for_a_state(clone)
    said = stop(process, clone)
    assert process.returncode != 0
    assert "Traceback" not in said
    assert not (clone.results / RUN / "metrics.csv").exists()

    again = start(clone)
    said, _ = again.communicate(timeout=300)

    assert again.returncode == 0, said
    require_it_went_on(clone, said, whole)


@pytest.mark.parametrize("listener", ["terminal", "pipe"])
def test_a_study_goes_on_when_nobody_listens_any_more(
    clone: Repository, whole: dict[str, object], listener: str
) -> None:
    """As `snakemake & disown` when the connection drops, and `snakemake | tee log` without tee."""
    reading, writing = os.openpty() if listener == "terminal" else os.pipe()
    process = clone.start_snakemake("--cores", "1", TARGET, config=LONG, listener=writing)
    os.close(writing)
    while not (clone.results / RUN / "resume" / "progress.json").exists():
        assert process.poll() is None, os.read(reading, 100_000)
        time.sleep(0.01)
    os.close(reading)
    ended = process.wait(timeout=1800)
    if listener == "pipe" and ended:  # Snakemake itself may give up; what was trained is kept
        ended = clone.snakemake("--cores", "1", TARGET, config=LONG).returncode
    assert ended == 0
    assert outputs(clone.results / RUN) == whole
    assert not (clone.results / RUN / "resume").exists()


def children(process: int) -> set[int]:
    """Return the processes that a process started, and theirs."""
    found = {
        int(child)
        for told in Path(f"/proc/{process}/task").glob("*/children")
        for child in told.read_text().split()
    }
    return found.union(*map(children, found))


def test_jobs_that_train_nothing_end_with_their_snakemake_too_and_meet_no_other(
    clone: Repository,
) -> None:
    target = "results/smoke/data/4/train.csv"
    many = {"data": {4: {"digits": 300}}}
    process = clone.start_snakemake("--cores", "1", target, config=many)
    directory = clone.results / "data" / "4"
    while not list(directory.glob(".*.new")):
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.005)
    jobs = children(process.pid)
    process.kill()
    process.wait()
    again = clone.snakemake("--cores", "1", target, config=many)
    assert again.returncode == 0, again.stdout
    deadline = time.monotonic() + 120
    while any(Path(f"/proc/{job}").exists() for job in jobs):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert "Traceback" not in again.stdout
    assert not [path for path in directory.iterdir() if path.name.endswith(".new")]
    checked = clone.snakemake(
        "--cores", "1", "results/smoke/domains/1/data_4/train.csv", config=many
    )
    assert checked.returncode == 0, checked.stdout  # it compares the checksums


def test_two_snakemakes_do_not_run_the_same_study(clone: Repository) -> None:
    first = start(clone)
    wait_for_a_state(clone)
    held = training(clone)
    os.kill(held, signal.SIGSTOP)  # or it could end before the second one looks
    second = clone.snakemake("--cores", "1", TARGET, config=LONG)
    os.kill(held, signal.SIGCONT)
    assert second.returncode != 0
    assert "Directory cannot be locked" in second.stdout
    said, _ = first.communicate(timeout=300)
    assert first.returncode == 0, said
    assert (clone.results / RUN / "metrics.csv").exists()


def test_a_change_of_settings_starts_over_and_is_named(clone: Repository) -> None:
    process = start(clone)
    wait_for_a_state(clone)
    interrupt_from_the_terminal(process, clone)
    ran = clone.snakemake("--cores", "1", TARGET)
    assert ran.returncode == 0, ran.stdout
    differences = "settings.eval_steps (500 -> 30); settings.num_train_epochs (600 -> 12)"
    assert ran.stdout.count(f"starts over, as what was saved differs: {differences}\n") == 1
    assert "resumed" not in ran.stdout
    assert not (clone.results / RUN / "resume").exists()
