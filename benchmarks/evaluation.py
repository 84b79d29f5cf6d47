"""Time what an evaluation of pretraining measures, beside the steps between two evaluations.

Steps and evaluations take turns in one process, on data version 1 with the published settings.

    python benchmarks/evaluation.py [--models 2 4] [--repetitions 7]

Writes `benchmarks/results/evaluation_<device>.csv`: milliseconds for a compiled step, for a whole
evaluation and for one of validation loss and accuracy alone, and what the rest takes of a run that
evaluates as often as the published one.
"""

import argparse
import os
import tempfile
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

import pandas as pd
import torch
from training_step import MODELS, ROOT, SETTINGS, make_tasks, now

from gpt_math_domains.data.families import families_of, is_mirrored, parts_of
from gpt_math_domains.data.tables import read_equations
from gpt_math_domains.data.vocabulary import LONGEST, read_vocabulary
from gpt_math_domains.jobs.caches import CHOSEN, private_caches
from gpt_math_domains.jobs.record import cpu_name
from gpt_math_domains.run import ModelSize
from gpt_math_domains.training.device import prepare_torch
from gpt_math_domains.training.execution import Eager, compile_stack
from gpt_math_domains.training.model import initialize
from gpt_math_domains.training.stack import (
    BatchOrder,
    Judge,
    build_stack,
    decide,
    torch_generator,
)
from gpt_math_domains.training.tasks import NextTokens

EVAL_STEPS = {2: 1000, 4: 5000, 6: 10000}  # of the published runs on data 1
STEPS = 200  # in a turn


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", type=int, nargs="+", default=[2, 4], choices=MODELS)
    parser.add_argument("--repetitions", type=int, default=7)
    arguments = parser.parse_args()
    device = prepare_torch("auto", threads=1)
    name = torch.cuda.get_device_name() if device == "cuda" else f"one core of {cpu_name()}"
    with ExitStack() as until_done:
        directory = Path(until_done.enter_context(tempfile.TemporaryDirectory()))
        os.environ[CHOSEN] = f"{directory}/compiled"
        until_done.enter_context(private_caches(print))
        rows = [
            {"device": name} | measure(model, directory, device, arguments.repetitions)
            for model in arguments.models
        ]
    table = pd.DataFrame(rows)
    path = ROOT / f"benchmarks/results/evaluation_{device}.csv"
    table.to_csv(path, index=False, float_format="%.4g")
    print(table.drop(columns="device").to_string(index=False, float_format="%.4g"))


def measure(model: int, directory: Path, device: str, repetitions: int) -> dict[str, Any]:
    """Return the row of a model version."""
    task, valid, vocabulary_size = make_tasks(directory, device)
    assert isinstance(task, NextTokens) and isinstance(valid, NextTokens)
    vocabulary = read_vocabulary(directory / "vocabulary.json")
    trained, judged = (
        parts_of(read_equations(directory / f"{split}.csv"), vocabulary)
        for split in ("train", "valid")
    )
    size = ModelSize(*MODELS[model], vocabulary_size, LONGEST + 1)
    weights = initialize(size, [torch_generator(0, "weights")])
    stack = build_stack(
        task,
        size,
        {name: value.to(device) for name, value in weights.items()},
        SETTINGS,
        [torch_generator(0, "dropout", device)],
    )
    compile_stack(stack)
    order = BatchOrder(len(task), SETTINGS, [0], device)
    executor = Eager(stack, order, SETTINGS)
    judge = Judge(
        valid=valid,
        mirrored=torch.from_numpy(is_mirrored(judged, trained)),
        parts=torch.from_numpy(families_of(judged)[1]),
        sample=torch.arange(len(task), device=device),
    )
    done = 0

    def step() -> None:
        nonlocal done
        *_, done = executor.run(done + 1, done + STEPS)

    turns = {
        "step_ms": (step, STEPS),
        "evaluation_ms": (lambda: judge.measure(stack), 1),
        "validation_ms": (lambda: decide(valid, stack.parameters, size), 1),
    }
    times: dict[str, list[float]] = {name: [] for name in turns}
    for repetition in range(repetitions + 1):
        for name, (run, count) in turns.items():
            started = now(device)
            run()
            if repetition:  # the first one compiles
                times[name].append(1e3 * (now(device) - started) / count)
    found = {name: median(values) for name, values in times.items()}
    more = found["evaluation_ms"] - found["validation_ms"]
    return {
        "model": model,
        **found,
        "eval_steps": EVAL_STEPS[model],
        "share": more / (EVAL_STEPS[model] * found["step_ms"]),
    }


if __name__ == "__main__":
    main()
