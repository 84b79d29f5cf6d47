"""A training that is killed at any moment, any number of times, ends with the same bits."""

import os
import random
import time
from pathlib import Path

import pytest

from training_job import (
    TALLY,
    finish,
    log_of,
    outputs,
    prepare,
    require_the_same,
    start,
    wait_until_it_trains,
)

POINTS = int(os.environ.get("KILL_POINTS", "5"))
AT_MOST = 5  # kills of one run


@pytest.mark.parametrize("run", range(-(-POINTS // AT_MOST)))
def test_a_killed_training_ends_with_the_bits_of_an_undisturbed_one(
    tmp_path: Path, undisturbed: dict[str, object], run: int
) -> None:
    chance = random.Random(run)  # noqa: S311 - moments to kill at
    prepare(tmp_path)
    for _ in range(min(AT_MOST, POINTS - AT_MOST * run)):
        # Saving after each step, a job spends most of its time in a save.
        job = start(tmp_path, save_seconds=chance.choice([0, 0, 0.05]))
        wait_until_it_trains(tmp_path, job)
        time.sleep(chance.uniform(0, 0.4))
        job.kill()
        job.communicate()
        TALLY["kill points"] += 1
        TALLY["resumes"] += "resumed at step" in log_of(tmp_path)

    finish(start(tmp_path, save_seconds=0.05))

    TALLY["resumes"] += "resumed at step" in log_of(tmp_path)
    require_the_same(tmp_path, undisturbed)


def test_the_accuracies_of_the_labels_survive_a_kill(tmp_path: Path) -> None:
    whole = prepare(tmp_path / "whole")
    finish(start(whole, save_seconds=1000, finetune=True))
    killed = prepare(tmp_path / "killed")
    job = start(killed, finetune=True)
    wait_until_it_trains(killed, job)
    time.sleep(0.2)
    job.kill()
    job.communicate()
    finish(start(killed, save_seconds=0.05, finetune=True))
    assert "parts.csv" in outputs(whole)
    require_the_same(killed, outputs(whole))
