"""What a cluster costs a study of many small trainings: single jobs, an array, and groups.

    python benchmarks/cluster.py

Needs what `make test-slurm` installs, and root: the cluster is the one of `tests/cluster/slurm.py`,
a node with two pretend GPUs on this machine. Trainings of one epoch are submitted through
`profiles/slurm`, in three ways. `slot_seconds` is how long a training keeps its GPU, the time of
the group's job divided by its trainings; `overhead_seconds` is what of it is not the training's own
script. `load` is how many processes wanted one of the `cores`, before and after: a busy machine
makes all of it longer. Writes `benchmarks/results/cluster.csv`.

`benchmarks/workflow.py` has the time that the job graph of 2,000 jobs takes.
"""

import csv
import os
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path
from statistics import mean
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path[:0] = [
    str(ROOT / name) for name in ("workflow/scripts", "tests/workflow", "tests/cluster")
]

from gpt_math_domains.files import atomic_write
from gpt_math_domains.jobs.record import cpu_name
from slurm import Cluster
from study import Repository, copy_of_this_repository

TRAININGS = 8
PROFILE = ("--workflow-profile", "profiles/slurm")
WAYS = {
    "single": (),
    "array": ("--slurm-array-jobs", "pretrain_model"),
    "groups of 4": (
        *("--groups", "pretrain_model=trainings"),
        *("--group-components", "trainings=4"),
    ),
}
STUDY: dict[str, Any] = {
    "run": {"data": [4], "models": list(range(1, TRAININGS + 1)), "domains": []},
    "models": {
        version: {"num_layers": 1, "num_heads": 2, "d_model": 8 * version}
        for version in range(1, TRAININGS + 1)
    },
    "pretrain": {"num_train_epochs": 1},
    "device": "auto",
}


def main() -> None:
    """Measure, print and write the figures."""
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as directory, Cluster() as cluster:
        repository = copy_of_this_repository(Path(directory) / "repository")
        data = [f"results/smoke/data/4/{name}.csv" for name in ("train", "valid")]
        run(repository, *data, "--cores", "1")
        for way, options in WAYS.items():
            rows.append(submit(cluster, repository, way, options))
            print("  ".join(f"{name} {value}" for name, value in rows[-1].items()), flush=True)
    for row in rows:
        row["cpu"] = cpu_name()
    with atomic_write(ROOT / "benchmarks/results/cluster.csv") as handle:
        writer = csv.DictWriter(handle, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def submit(
    cluster: Cluster, repository: Repository, way: str, options: tuple[str, ...]
) -> dict[str, Any]:
    """Train all runs in one way of submission; return its row."""
    before = set(cluster.jobs(states="all"))
    targets = [
        f"results/smoke/pretrain/data_4/model_{model}/metrics.csv" for model in STUDY["models"]
    ]
    started = time.perf_counter()
    load = os.getloadavg()[0]
    run(
        repository,
        *targets,
        *("--forcerun", "pretrain_model"),
        *PROFILE,
        *("--slurm-init-seconds-before-status-checks", "5"),
        *options,
    )
    wall = time.perf_counter() - started
    jobs = [job for job in cluster.jobs(states="all") if job not in before]
    spans = [span(cluster.job(job)) for job in jobs]
    own = []
    for model in STUDY["models"]:
        table = repository.results / f"benchmarks/pretrain/data_4/model_{model}.tsv"
        own.append(float(table.read_text().splitlines()[1].split("\t")[0]))
    slot = sum(spans) / TRAININGS
    return {
        "submission": way,
        "trainings": TRAININGS,
        "slurm_jobs": len(jobs),
        "seconds": round(wall, 1),
        "trainings_per_minute": round(60 * TRAININGS / wall, 1),
        "slot_seconds": round(slot, 1),
        "script_seconds": round(mean(own), 1),
        "overhead_seconds": round(slot - mean(own), 1),
        "load": f"{load:.1f} to {os.getloadavg()[0]:.1f}",
        "cores": os.cpu_count(),
    }


def span(job: dict[str, str]) -> float:
    """Return the seconds that a job of the cluster ran."""
    start, end = (datetime.fromisoformat(job[key]) for key in ("StartTime", "EndTime"))
    return (end - start).total_seconds()


def run(repository: Repository, *arguments: str) -> None:
    """Run Snakemake to its end, which shall be a good one."""
    done = repository.snakemake(*arguments, config=STUDY)
    assert done.returncode == 0, done.stdout


if __name__ == "__main__":
    main()
