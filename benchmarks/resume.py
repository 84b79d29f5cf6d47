"""What it costs that a training can be stopped: saving the state of model 6, and resuming from it.

    python benchmarks/resume.py [DIRECTORY]

Saves into the directory, by default the system's temporary one; a save ends when the disk has it.
Writes `benchmarks/results/resume.csv`.
"""

import csv
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "workflow/scripts"))

import numpy as np
import torch

from gpt_math_domains.data.equations import enumerate_family
from gpt_math_domains.data.tables import Equations
from gpt_math_domains.data.vocabulary import Vocabulary
from gpt_math_domains.files import atomic_write
from gpt_math_domains.jobs.stops import Stop
from gpt_math_domains.run import (
    ModelSize,
    Settings,
)
from gpt_math_domains.training.model import initialize
from gpt_math_domains.training.resume import SAVE_SECONDS, SAVING_SHARE, Resume, resumable
from gpt_math_domains.training.stack import Stack, build_stack, torch_generator
from gpt_math_domains.training.tasks import NextTokens

REPETITIONS = 5
VOCABULARY = Vocabulary(10)
SIZE = ModelSize(8, 8, 512, VOCABULARY.size, 7)
SETTINGS = Settings(
    num_train_epochs=1,
    eval_steps=1000,
    batch_size=32,
    learning_rate=5e-4,
    weight_decay=0.1,
    gradient_accumulation_steps=1,
    num_warmup_steps=0,
    shuffle=False,
)


def main() -> None:
    """Measure, print and write the figures."""
    torch.set_num_threads(1)
    parent = sys.argv[1] if len(sys.argv) > 1 else None
    with tempfile.TemporaryDirectory(dir=parent) as directory:
        rows = [measure(Path(directory) / str(seeds), seeds) for seeds in (1, 3)]
    with atomic_write(ROOT / "benchmarks/results/resume.csv") as handle:
        writer = csv.DictWriter(handle, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    for row in rows:
        print("  ".join(f"{name} {value}" for name, value in row.items()))


def fresh_stack(seeds: int) -> Stack:
    """Return a stack of model 6 that was never trained, some values of each kind drawn."""
    tokens = enumerate_family(VOCABULARY, "subtract", None)
    equations = Equations(tokens, (tokens >= 0).sum(axis=1), np.full(len(tokens), 4))
    task = NextTokens.of(equations, VOCABULARY, "cpu", torch.float32)
    weights = initialize(SIZE, [torch_generator(seed, "weights") for seed in range(seeds)])
    generators = [torch_generator(seed, "dropout") for seed in range(seeds)]
    stack = build_stack(task, SIZE, weights, SETTINGS, generators)
    for group in stack.groups:
        group.mean.normal_()
        group.square.uniform_()
    return stack


def measure(directory: Path, seeds: int) -> dict[str, Any]:
    """Time saves of a run with so many seeds, and resumes from the last of them."""
    identity = {"seeds": list(range(seeds))}
    saves, resumes = [], []
    stack = fresh_stack(seeds)
    with Stop(print) as stop, resumable(directory, identity, stack, 1, stop, print) as resume:
        for _ in range(REPETITIONS):
            saves.append(timed(resume))
    megabytes = sum(path.stat().st_size for path in directory.glob("state_*/*")) / 2 / 2**20
    for _ in range(REPETITIONS):
        stack = fresh_stack(seeds)
        started = time.perf_counter()
        with Stop(print) as stop, resumable(directory, identity, stack, 1, stop, print) as resume:
            resumes.append(time.perf_counter() - started)
            assert resume.resumes == 1
    save = median(saves)
    return {
        "model": 6,
        "seeds": seeds,
        "megabytes": round(megabytes),
        "save_seconds": round(save, 2),
        "save_min": round(min(saves), 2),
        "save_max": round(max(saves), 2),
        "resume_seconds": round(median(resumes), 2),
        "saving_share": round(save / (save + max(SAVE_SECONDS, save / SAVING_SHARE)), 4),
        "repetitions": REPETITIONS,
    }


def timed(resume: Resume) -> float:
    """Return the seconds that a save takes: of step 0, before which there is no evaluation."""
    started = time.perf_counter()
    resume.save(0)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
