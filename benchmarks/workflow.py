"""How long the workflow itself takes: building a large job graph, and starting a training job.

    python benchmarks/workflow.py

The graph is that of 20 data versions x 20 models x 4 protocols, as `snakemake --dry-run` builds it.
The start of a job is what passes from a new process to the end of its first training step. Writes
`benchmarks/results/workflow.csv`.
"""

import csv
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "workflow/scripts"))

from gpt_math_domains.data.equations import generate_equations
from gpt_math_domains.data.settings import DataSettings
from gpt_math_domains.files import atomic_write

REPETITIONS = 3
VERSIONS = 20
START = """
import time
started = time.perf_counter()
import io, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from gpt_math_domains.jobs.record import Record
from gpt_math_domains.training.runs import Job, pretrain_model

class FirstStep(Exception): pass

def first_step(progress, step):
    print(time.perf_counter() - started)
    raise FirstStep

from gpt_math_domains.jobs.progress import Progress
Progress.heartbeat = first_step
settings = dict(num_train_epochs=1, eval_steps=1000, batch_size=32, learning_rate=5e-4,
    weight_decay=0.1, gradient_accumulation_steps=1, num_warmup_steps=0, shuffle=False)
job = Job(run=dict(phase="pretrain", data=1, model=2, domain=None, protocol=None),
    model=dict(num_layers=1, num_heads=8, d_model=128), settings=settings, seeds=[0],
    pretrain_seeds=[], device="auto", precision="fp32", execution="eager", threads=1,
    metrics_csv="metrics.csv", parts_csv="families.csv",
    record=Record("run.json", ["train.csv", "valid.csv", "vocabulary.json"], ""),
    checkpoints=[Path("seed_0")], log=io.StringIO())
try:
    pretrain_model(job, "train.csv", "valid.csv", "vocabulary.json", "manifest.json")
except FirstStep:
    pass
"""


def main() -> None:
    """Measure, print and write the figures."""
    rows = [
        dry_run("dry run"),
        dry_run("dry run for a cluster", "--workflow-profile", "profiles/slurm"),
        start_of_a_job(),
    ]
    with atomic_write(ROOT / "benchmarks/results/workflow.csv") as handle:
        writer = csv.DictWriter(handle, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    for row in rows:
        print("  ".join(f"{name} {value}" for name, value in row.items()))


def dry_run(what: str, *options: str) -> dict[str, Any]:
    """Time `snakemake --dry-run` on a study with thousands of jobs."""
    versions = range(1, VERSIONS + 1)
    study = {
        "run": {
            "data": list(versions),
            "models": list(versions),
            "protocols": ["full", "frozen", "scratch", "random_frozen"],
        },
        "data": {version: {"digits": 5 + version, "modulo": 5} for version in versions},
        "models": {
            version: {"num_layers": version, "num_heads": 8, "d_model": 128} for version in versions
        },
        "overrides": [],
        "pathvars": {"results": "results/benchmark_that_never_runs"},
    }
    with tempfile.TemporaryDirectory() as directory:
        overlay = Path(directory) / "study.yaml"
        overlay.write_text(yaml.safe_dump(study), encoding="utf-8")
        command = [sys.executable, "-m", "snakemake", "--dry-run", *options]
        command += ["--configfile", str(overlay)]
        seconds, jobs = [], 0
        for _ in range(REPETITIONS):
            started = time.perf_counter()
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
            seconds.append(time.perf_counter() - started)
            totals = [line for line in done.stdout.splitlines() if line.startswith("total")]
            jobs = int(totals[0].split()[1])
    return row(f"{what} of {jobs:,} jobs", seconds)


def start_of_a_job() -> dict[str, Any]:
    """Time a training job from a new process to the end of its first step."""
    with tempfile.TemporaryDirectory() as directory:
        names = {name: Path(directory) / f"{name}.csv" for name in ("train", "valid")}
        names |= {name: Path(directory) / f"{name}.json" for name in ("vocabulary", "manifest")}
        generate_equations(DataSettings(10, 5), **names)
        command = [sys.executable, "-c", START, sys.path[0]]
        seconds = []
        for _ in range(REPETITIONS):
            started = time.perf_counter()
            with subprocess.Popen(
                command, cwd=directory, stdout=subprocess.PIPE, env=os.environ, text=True
            ) as process:
                assert process.stdout is not None
                if not process.stdout.readline():
                    raise RuntimeError("the job ended before its first step")
                seconds.append(time.perf_counter() - started)
    return row("start of a training job to its first step", seconds)


def row(what: str, seconds: list[float]) -> dict[str, Any]:
    """Return one row of the table."""
    return {
        "what": what,
        "seconds": round(median(seconds), 2),
        "min": round(min(seconds), 2),
        "max": round(max(seconds), 2),
        "repetitions": len(seconds),
    }


if __name__ == "__main__":
    main()
