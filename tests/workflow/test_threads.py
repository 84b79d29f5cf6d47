"""Trainings with more than one thread."""

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from study import Repository
from training_job import (
    finish,
    log_of,
    outputs,
    prepare,
    require_the_same,
    start,
    wait_until_it_trains,
)

# Wide enough that threads share its products.
WIDE: dict[str, Any] = {
    "model": {"num_layers": 1, "num_heads": 2, "d_model": 256},
    "threads": 2,
    "num_train_epochs": 10,
}


@pytest.mark.parametrize("execution", ["eager", "compiled"])
def test_bits_are_the_same_on_any_number_of_cores_and_so_where_a_run_goes_on(
    tmp_path: Path, execution: str
) -> None:
    if (os.cpu_count() or 1) < 2:
        pytest.skip("needs two cores")
    wide = WIDE | {"execution": execution}
    directories = [prepare(tmp_path / name) for name in ("two", "one", "both")]
    two, one, both = directories
    finish(start(two, cores=2, **wide), 300)
    finish(start(one, cores=1, **wide), 300)
    stopped = start(both, cores=2, **wide)
    wait_until_it_trains(both, stopped)
    stopped.kill()
    stopped.communicate()
    finish(start(both, cores=1, **wide), 300)

    assert "2 threads share 1 of the machine's cores" in log_of(one)
    assert "resumed at step" in log_of(both)
    whole = outputs(two)
    for directory in directories:
        assert json.loads((directory / "run.json").read_text())["threads"] == 2
        require_the_same(directory, whole)


def test_snakemake_sets_cores_aside_for_the_threads_of_a_training(clone: Repository) -> None:
    told = clone.snakemake("--dry-run", "--cores", "4", config={"threads": 3}).stdout
    jobs = re.split(r"\nrule (?=\w+:\n)", told)
    trainings = [job for job in jobs if re.match("(pretrain|finetune)_model:", job)]
    assert len(trainings) == 3 * 4
    assert all("\n    threads: 3\n" in job for job in trainings)
