"""A small training job in a process of its own, which tests stop in every way there is.

    python training_job.py DIRECTORY CHANGES

CHANGES is JSON: fields of `Job` and of its settings; `log`, a path; `file_size`, a limit in bytes;
`finetune`, whether to finetune from scratch in place of pretraining; `cores`, how many it may use.
"""

import csv
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

SCRIPTS = Path(__file__).parents[2] / "workflow" / "scripts"
MODEL = {"num_layers": 1, "num_heads": 2, "d_model": 16}
SETTINGS: dict[str, Any] = {
    "num_train_epochs": 40,
    "eval_steps": 25,
    "batch_size": 16,
    "learning_rate": 5e-3,
    "weight_decay": 0.1,
    "gradient_accumulation_steps": 1,
    "num_warmup_steps": 5,
    "shuffle": True,
    "checkpoints": {"every": 40},
}
SPLITS = ("train", "valid")
TALLY: Counter[str] = Counter()  # told at the end of the tests


def prepare(directory: Path) -> Path:
    """Write the data to train on; return the directory."""
    from gpt_math_domains.data.equations import generate_equations
    from gpt_math_domains.data.labels import label_domains
    from gpt_math_domains.data.settings import DataSettings

    directory.mkdir(parents=True, exist_ok=True)
    names = {name: directory / f"{name}.csv" for name in SPLITS}
    names |= {name: directory / f"{name}.json" for name in ("vocabulary", "manifest")}
    generate_equations(DataSettings(4), **names)
    label_domains(
        ["first_odd", "has_zero"],
        **{name: names[name] for name in (*SPLITS, "vocabulary", "manifest")},
        labelled_train=directory / "train_labels.csv",
        labelled_valid=directory / "valid_labels.csv",
        labelled_manifest=directory / "labels_manifest.json",
    )
    return directory


def start(
    directory: Path,
    save_seconds: float = 0,
    owner: int | None = None,
    variables: Mapping[str, str] | None = None,
    listener: int = subprocess.PIPE,
    **changes: Any,
) -> subprocess.Popen[str]:
    """Start the job; its outputs, log and resume state are in the directory.

    Args:
        directory: that `prepare` returned.
        save_seconds: between saves.
        owner: the process that it stops with, in place of this one.
        variables: more of its environment.
        listener: descriptor of its terminal; a pipe of its own if there is none.
        changes: see above.
    """
    if (directory / "job.log").exists():
        (directory / "job.log").unlink()
    environment = os.environ | {
        "PYTHONPATH": str(SCRIPTS),
        "GPT_MATH_DOMAINS_SAVE_SECONDS": str(save_seconds),
        "GPT_MATH_DOMAINS_SNAKEMAKE": str(owner or os.getpid()),
        **(variables or {}),
    }
    return subprocess.Popen(
        [sys.executable, __file__, str(directory), json.dumps(changes)],
        env=environment,
        stderr=listener,
        text=True,
        # A test may itself run where SIGINT is ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler) and None,
    )


def finish(job: subprocess.Popen[str], seconds: float = 60) -> str:
    """Wait for a job that shall succeed; return what it said on the terminal."""
    _, said = job.communicate(timeout=seconds)
    assert job.returncode == 0, said
    return said


def log_of(directory: Path) -> str:
    path = directory / "job.log"
    return path.read_text(encoding="utf-8") if path.exists() else ""


def wait_until_it_trains(directory: Path, job: subprocess.Popen[str]) -> None:
    """Wait for the first step, or for the job's end."""
    deadline = time.monotonic() + 60
    while job.poll() is None and " step " not in log_of(directory):
        assert time.monotonic() < deadline, log_of(directory)
        time.sleep(0.005)


def states(directory: Path) -> list[str]:
    """Return what stands in the resume directory, the lock aside."""
    resume = directory / "resume"
    return (
        sorted(p.name for p in resume.iterdir() if p.name not in ("lock", "progress.json"))
        if resume.exists()
        else []
    )


def outputs(directory: Path) -> dict[str, object]:
    """Return all that a run publishes, bit by bit, but for the clock."""
    found: dict[str, object] = {
        str(path.relative_to(directory)): path.read_bytes()
        for path in directory.glob("seed_*/**/*")
        if path.is_file()
    }
    with (directory / "metrics.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        del row["seconds"]
    tables = {path.name: path.read_bytes() for path in directory.glob("*.csv")}
    return found | tables | {"metrics.csv": rows}


def require_the_same(directory: Path, whole: dict[str, object]) -> None:
    """Compare a finished run with one that nobody stopped."""
    found = outputs(directory)
    TALLY["runs compared"] += 1
    TALLY["bit mismatches"] += found != whole
    assert found.keys() == whole.keys()
    assert [name for name in whole if found[name] != whole[name]] == []
    assert not (directory / "resume").exists()


def main() -> None:
    """Train."""
    from gpt_math_domains.jobs.caches import private_caches
    from gpt_math_domains.jobs.cores import keep_to_cores
    from gpt_math_domains.jobs.logs import job_log, notes
    from gpt_math_domains.jobs.record import Record

    directory, changes = Path(sys.argv[1]), json.loads(sys.argv[2])
    if limit := changes.pop("file_size", 0):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    path = changes.pop("log", directory / "job.log")
    settings = SETTINGS | {key: changes.pop(key) for key in SETTINGS if key in changes}
    fields: dict[str, Any] = {
        "run": {"phase": "pretrain", "data": 4, "model": 2, "domain": None, "protocol": None},
        "model": MODEL,
        "settings": settings,
        "seeds": [0, 1],
        "pretrain_seeds": [],
        "device": "cpu",
        "precision": "fp32",
        "execution": "eager",
        "threads": 1,
        "metrics_csv": directory / "metrics.csv",
        "parts_csv": directory / "parts.csv",
    }
    code = changes.pop("code", "of the tests")
    finetunes = changes.pop("finetune", False)
    cores = changes.pop("cores", 1)
    fields |= changes
    fields["checkpoints"] = [directory / f"seed_{seed}" for seed in fields["seeds"]]
    inputs = {
        "train_csv": directory / "train.csv",
        "valid_csv": directory / "valid.csv",
        "vocabulary_json": directory / "vocabulary.json",
        "manifest_json": directory / "manifest.json",
    }
    if finetunes:
        fields["run"] |= {"phase": "finetune", "domain": 1, "protocol": "scratch"}
        inputs |= {f"{name}_labels_csv": directory / f"{name}_labels.csv" for name in SPLITS}
        inputs["labels_manifest_json"] = directory / "labels_manifest.json"
    with job_log(path) as log, private_caches(notes(log)):
        keep_to_cores(cores, fields["threads"], notes(log))
        from gpt_math_domains.training.runs import Job, finetune_model, pretrain_model

        job = Job(**fields, record=Record(directory / "run.json", inputs.values(), code), log=log)
        if finetunes:
            finetune_model(job, **inputs, pretrained=[], pretrained_vocabulary=[])
        else:
            pretrain_model(job, **inputs)


if __name__ == "__main__":
    main()
