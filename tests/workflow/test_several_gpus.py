"""Trainings that run at the same time get GPUs of their own; the devices here are pretended."""

import os
import re
import signal
import time
import uuid
from collections import Counter
from collections.abc import Iterator

import pytest

from gpt_math_domains.jobs.gpus import LOCKS
from study import Repository

# Trains until it is stopped.
ENDLESS = {"device": "auto", "overrides": [{"phase": "pretrain", "num_train_epochs": 10**6}]}
TARGETS = [
    f"results/smoke/pretrain/data_{data}/model_{model}/metrics.csv"
    for data in (4, 5)
    for model in (2, 4)
]


@pytest.fixture
def gpus() -> Iterator[list[str]]:
    """Names of four devices that no other process uses, not even on a machine with GPUs."""
    name = f"GPU-pretended-{uuid.uuid4()}"
    yield [f"{name}-{number}" for number in range(4)]
    for lock in LOCKS.glob(f"gpt_math_domains_{name}-*"):
        lock.unlink()


@pytest.mark.parametrize("slots", [1, 2])
def test_gpu_4_runs_four_trainings_on_gpus_of_their_own_unless_they_shall_share(
    clone: Repository, gpus: list[str], slots: int
) -> None:
    visible = gpus[: 4 // slots]
    snakemake = clone.start_snakemake(
        *TARGETS,
        *("--cores", "4", "--resources", "gpu=4"),
        config=ENDLESS | {"gpu_slots": slots},
        environment={"CUDA_VISIBLE_DEVICES": ",".join(visible)},
    )
    taken: list[str] = []
    deadline = time.monotonic() + 300
    while len(taken) < 4 and snakemake.poll() is None and time.monotonic() < deadline:
        logs = [path.read_text() for path in clone.results.glob("logs/pretrain/*/*.log")]
        taken = [gpu for log in logs for gpu in re.findall(r"  takes GPU (\S+)$", log, re.M)]
        time.sleep(0.1)
    if snakemake.poll() is None:
        os.killpg(snakemake.pid, signal.SIGINT)
    said, _ = snakemake.communicate(timeout=120)

    assert Counter(taken) == dict.fromkeys(visible, slots), said
    assert "waits for a GPU" not in said
